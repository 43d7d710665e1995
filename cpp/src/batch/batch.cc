#include "floodgate/batch.h"

#include <algorithm>
#include <set>

namespace floodgate {
namespace {

constexpr std::uint32_t kMaxBatch = 4096;
constexpr std::uint32_t kMaxBuffers = 1024;
constexpr std::int32_t kLongestCodePoint = 4;

Status validate_tensor(const EnsembleConfig& config, const TensorConfig& tensor) {
  const auto* image = std::get_if<ImageView>(&tensor.view);
  const auto* text = std::get_if<TextView>(&tensor.view);
  if ((image != nullptr) != (config.modality == Modality::kImage)) {
    return Status(Code::kInvalidArgument, "the view is not of the ensemble's modality");
  }
  if (image != nullptr) return validate(*image);
  if (Status checked = validate(*text); !checked.ok()) return checked;
  if (text->max_bytes() < kLongestCodePoint) {
    return Status(Code::kInvalidArgument, "the last bucket must hold at least 4 bytes");
  }
  return {};
}

}  // namespace

Status validate(const EnsembleConfig& config) {
  const auto invalid = [&](const std::string& what) {
    return Status(Code::kInvalidArgument, "ensemble " + config.name + ": " + what);
  };
  if (config.name.empty()) return Status(Code::kInvalidArgument, "an ensemble has no name");
  if (config.max_batch < 1 || config.max_batch > kMaxBatch)
    return invalid("max_batch must be from 1 to 4096");
  if (config.credit < 1) return invalid("credit must be at least 1");
  if (config.buffers <= config.credit || config.buffers > kMaxBuffers) {
    return invalid("buffers must be above credit and at most 1024");
  }
  if (config.tensors.empty() || config.tensors.size() > kMaxTargets) {
    return invalid("there must be from 1 to " + std::to_string(kMaxTargets) + " tensors");
  }
  if (config.modality == Modality::kText && config.tensors.size() != 1) {
    return invalid("a text ensemble has exactly one tensor");
  }
  std::set<std::string> names;
  for (const TensorConfig& tensor : config.tensors) {
    if (tensor.name.empty() || !names.insert(tensor.name).second) {
      return invalid("tensor names must be given and differ");
    }
    if (Status checked = validate_tensor(config, tensor); !checked.ok()) {
      return invalid("tensor " + tensor.name + ": " + checked.message());
    }
  }
  std::set<std::string> silent(config.heads.begin(), config.heads.end());
  if (silent.empty() || silent.size() != config.heads.size() || silent.contains("")) {
    return invalid("head names must be given and differ");
  }
  names.clear();
  for (const OutputConfig& output : config.outputs) {
    if (output.name.empty() || !names.insert(output.name).second) {
      return invalid("output names must be given and differ");
    }
    if (output.elements == 0) return invalid("output " + output.name + " has no elements");
    if (std::find(config.heads.begin(), config.heads.end(), output.head) == config.heads.end()) {
      return invalid("output " + output.name + " is of an unknown head, " + output.head);
    }
    silent.erase(output.head);
  }
  if (!silent.empty()) return invalid("head " + *silent.begin() + " has no output");
  return {};
}

const std::optional<Sha256>& digest_of(Done& done) {
  if (done.undigested != nullptr) {
    done.digest = sha256(done.undigested->bytes());
    done.undigested.reset();
  }
  return done.digest;
}

std::optional<std::span<const float>> RowScores::output(std::size_t index) const {
  const auto& outputs = config->outputs;
  if (index >= outputs.size()) return std::nullopt;
  for (const MissingHead& head : missing) {
    if (head.head == outputs[index].head) return std::nullopt;
  }
  std::size_t offset = 0;
  for (std::size_t i = 0; i < index; ++i) offset += outputs[i].elements;
  return std::span(values).subspan(offset, outputs[index].elements);
}

}  // namespace floodgate
