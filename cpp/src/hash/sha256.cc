#include "floodgate/sha256.h"

#include <openssl/evp.h>

#include <algorithm>
#include <memory>

namespace floodgate {
namespace {

constexpr std::size_t kPieceBytes = 1024;
constexpr std::size_t kCacheLineBytes = 64;

// A hint: nothing is read. Without it 430 kB that are in no cache took 0.39 ms instead of 0.27 (Intel, a
// program that is not kept): cache misses are waited for one by one.
void fetch(std::span<const std::uint8_t> bytes) {
  for (std::size_t at = 0; at < bytes.size(); at += kCacheLineBytes) __builtin_prefetch(&bytes[at], 0, 2);
}

}  // namespace

std::optional<Sha256> sha256(std::span<const std::uint8_t> bytes) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  if (context == nullptr || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) return std::nullopt;
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(kPieceBytes, bytes.size()));
    bytes = bytes.subspan(piece.size());
    fetch(bytes.first(std::min(kPieceBytes, bytes.size())));
    if (EVP_DigestUpdate(context.get(), piece.data(), piece.size()) != 1) return std::nullopt;
  }
  Sha256 digest;
  unsigned int size = 0;
  if (EVP_DigestFinal_ex(context.get(), digest.data(), &size) != 1 || size != digest.size()) {
    return std::nullopt;
  }
  return digest;
}

}  // namespace floodgate
