// SHA-256 (FIPS 180-4) of bytes, by libcrypto, which uses the processor's own instructions for it.
//
// Thread rule: a function of its argument. Refused: nothing; where libcrypto cannot do it there is no digest.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

namespace floodgate {

using Sha256 = std::array<std::uint8_t, 32>;

std::optional<Sha256> sha256(std::span<const std::uint8_t> bytes);

}  // namespace floodgate
