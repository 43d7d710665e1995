#include <dlfcn.h>

#include <array>
#include <utility>
#include <vector>

#include "jpeg_decoder.h"
#include "nvjpeg_abi.h"

namespace floodgate::cuda {
namespace {

using namespace nvjpeg;

// Chroma is enlarged as libjpeg does it, and damage is refused, not painted over. Older libraries know
// neither flag and are asked again without; their pixels are others, which their version() says.
constexpr std::array<unsigned, 2> kFlags = {kBitstreamStrict | kInterpolateChroma, 0};

struct Functions {
  GetProperty get_property = nullptr;
  CreateEx create = nullptr;
  Destroy destroy = nullptr;
  StateCreate create_state = nullptr;
  StateDestroy destroy_state = nullptr;
  StreamCreate create_stream = nullptr;
  StreamDestroy destroy_stream = nullptr;
  StreamParseHeader parse_header = nullptr;
  StreamSize size = nullptr;
  BatchedSupported batched_supported = nullptr;
  BatchedInitialize batched_initialize = nullptr;
  DecodeBatched decode_batched = nullptr;
  DecodeOne decode_one = nullptr;

  // Returns the name of the first function that is missing, or null.
  const char* find(void* library) {
    const char* missing = nullptr;
    const auto bind = [&](const char* name, auto& function) {
      void* const found = dlsym(library, name);
      if (found == nullptr && missing == nullptr) missing = name;
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(found);
    };
    bind("nvjpegGetProperty", get_property);
    bind("nvjpegCreateEx", create);
    bind("nvjpegDestroy", destroy);
    bind("nvjpegJpegStateCreate", create_state);
    bind("nvjpegJpegStateDestroy", destroy_state);
    bind("nvjpegJpegStreamCreate", create_stream);
    bind("nvjpegJpegStreamDestroy", destroy_stream);
    bind("nvjpegJpegStreamParseHeader", parse_header);
    bind("nvjpegJpegStreamGetFrameDimensions", size);
    bind("nvjpegDecodeBatchedSupported", batched_supported);
    bind("nvjpegDecodeBatchedInitialize", batched_initialize);
    bind("nvjpegDecodeBatched", decode_batched);
    bind("nvjpegDecode", decode_one);
    return missing;
  }
};

JpegOutcome outcome_of(int status) {
  switch (status) {
    case kSuccess:
      return JpegOutcome::kDecoded;
    case kAllocatorFailure:
      return JpegOutcome::kNoMemory;
    case kExecutionFailed:
    case kInternalError:
      return JpegOutcome::kFailed;
    default:
      return JpegOutcome::kRefused;
  }
}

// One of nvJPEG's ways of decoding, with its state for batches and for single pictures.
class Backend {
 public:
  explicit Backend(const Functions& functions) : functions_(functions) {}
  ~Backend() {
    if (batch_ != nullptr) (void)functions_.destroy_state(batch_);
    if (single_ != nullptr) (void)functions_.destroy_state(single_);
    if (handle_ != nullptr) (void)functions_.destroy(handle_);
  }
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  // Returns nvJPEG's status.
  int open(int backend) {
    int status = kSuccess;
    for (const unsigned flags : kFlags) {
      status = functions_.create(backend, nullptr, nullptr, flags, &handle_);
      flags_ = flags;
      if (status == kSuccess) break;
      handle_ = nullptr;
      if (status != kInvalidParameter) break;
    }
    if (status == kSuccess) status = functions_.create_state(handle_, &batch_);
    if (status == kSuccess) status = functions_.create_state(handle_, &single_);
    return status;
  }
  [[nodiscard]] Handle handle() const { return handle_; }
  // It does not know the flags.
  [[nodiscard]] bool plain() const { return flags_ == 0; }

  void decode(const std::vector<JpegPicture*>& pictures, void* stream) {
    if (pictures.empty()) return;
    const JpegOutcome together = outcome_of(decode_together(pictures, stream));
    for (JpegPicture* picture : pictures) picture->outcome = together;
    if (together == JpegOutcome::kDecoded || pictures.size() == 1) return;
    // A batch fails as a whole: one by one it shows who is to blame.
    for (JpegPicture* picture : pictures) {
      Image image = image_of(*picture);
      picture->outcome =
          outcome_of(functions_.decode_one(handle_, single_, picture->encoded.data(), picture->encoded.size(),
                                           kOutputRgbInterleaved, &image, stream));
    }
  }

 private:
  static Image image_of(const JpegPicture& picture) {
    Image image{};
    image.channel[0] = picture.pixels;
    image.pitch[0] = picture.pitch;
    return image;
  }

  int decode_together(const std::vector<JpegPicture*>& pictures, void* stream) {
    std::vector<const unsigned char*> data;
    std::vector<std::size_t> lengths;
    std::vector<Image> images;
    for (const JpegPicture* picture : pictures) {
      data.push_back(picture->encoded.data());
      lengths.push_back(picture->encoded.size());
      images.push_back(image_of(*picture));
    }
    const int status = functions_.batched_initialize(handle_, batch_, static_cast<int>(pictures.size()), 1,
                                                     kOutputRgbInterleaved);
    if (status != kSuccess) return status;
    return functions_.decode_batched(handle_, batch_, data.data(), lengths.data(), images.data(), stream);
  }

  const Functions& functions_;
  unsigned flags_ = 0;
  Handle handle_ = nullptr;
  State batch_ = nullptr;
  State single_ = nullptr;
};

class Decoder final : public JpegDecoder {
 public:
  explicit Decoder(const Functions& functions)
      : functions_(functions), hardware_(functions), software_(functions) {}
  ~Decoder() override {
    if (header_ != nullptr) (void)functions_.destroy_stream(header_);
  }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  Status open() {
    int status = software_.open(kBackendGpuHybrid);
    if (status == kSuccess) status = functions_.create_stream(software_.handle(), &header_);
    if (status != kSuccess) {
      return {Code::kUnavailable,
              "nvJPEG cannot work with this device (status " + std::to_string(status) + ")"};
    }
    // Only some cards have decoders of their own.
    has_hardware_ = hardware_.open(kBackendHardware) == kSuccess;
    return {};
  }
  [[nodiscard]] bool plain_software() const { return software_.plain(); }
  [[nodiscard]] bool plain_hardware() const { return has_hardware_ && hardware_.plain(); }

  void decode(std::span<JpegPicture> pictures, void* stream) override {
    std::vector<JpegPicture*> by_hardware;
    std::vector<JpegPicture*> by_software;
    for (JpegPicture& picture : pictures) {
      picture.outcome = JpegOutcome::kRefused;
      if (!fits(picture)) continue;
      int unsupported = 1;
      const bool supported =
          has_hardware_ &&
          functions_.batched_supported(hardware_.handle(), header_, &unsupported) == kSuccess &&
          unsupported == 0;
      (supported ? by_hardware : by_software).push_back(&picture);
    }
    hardware_.decode(by_hardware, stream);
    software_.decode(by_software, stream);
  }

 private:
  // nvJPEG writes as many pixels as it finds, wherever they lie: it must have found what the probe did.
  bool fits(const JpegPicture& picture) {
    unsigned width = 0;
    unsigned height = 0;
    return functions_.parse_header(software_.handle(), picture.encoded.data(), picture.encoded.size(),
                                   header_) == kSuccess &&
           functions_.size(header_, &width, &height) == kSuccess && width == picture.width &&
           height == picture.height;
  }

  const Functions& functions_;
  Backend hardware_;
  Backend software_;
  bool has_hardware_ = false;
  Stream header_ = nullptr;
};

class Library final : public JpegLibrary {
 public:
  explicit Library(void* library) : library_(library) {}
  // Never unloaded: its threads may outlive whatever used it.
  ~Library() override = default;
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  const char* bind() { return functions_.find(library_); }

  [[nodiscard]] std::string version() const override {
    std::array<int, 3> parts = {};
    for (const int property : {kMajorVersion, kMinorVersion, kPatchLevel}) {
      (void)functions_.get_property(property, &parts[static_cast<std::size_t>(property)]);
    }
    std::string version =
        std::to_string(parts[0]) + "." + std::to_string(parts[1]) + "." + std::to_string(parts[2]);
    if (plain_software_) version += " plain";
    if (plain_hardware_) version += " plain-hardware";
    return version;
  }

  Result<std::unique_ptr<JpegDecoder>> make_decoder() override {
    auto decoder = std::make_unique<Decoder>(functions_);
    if (Status opened = decoder->open(); !opened.ok()) return opened;
    plain_software_ = plain_software_ || decoder->plain_software();
    plain_hardware_ = plain_hardware_ || decoder->plain_hardware();
    return std::unique_ptr<JpegDecoder>(std::move(decoder));
  }

 private:
  void* const library_;
  Functions functions_;
  bool plain_software_ = false;
  bool plain_hardware_ = false;
};

}  // namespace

Result<std::unique_ptr<JpegLibrary>> load_nvjpeg(const std::string& path) {
  const std::vector<std::string> names =
      path.empty() ? std::vector<std::string>{"libnvjpeg.so.13", "libnvjpeg.so.12"} : std::vector{path};
  std::string problem;
  for (const std::string& name : names) {
    void* const loaded = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (loaded == nullptr) {
      if (!problem.empty()) problem += "; ";
      const char* const reason = dlerror();
      problem += reason != nullptr ? reason : name + " cannot be loaded";
      continue;
    }
    auto library = std::make_unique<Library>(loaded);
    if (const char* missing = library->bind(); missing != nullptr) {
      return Status(Code::kUnavailable, name + " is not nvJPEG as it is known here: it has no " + missing);
    }
    return std::unique_ptr<JpegLibrary>(std::move(library));
  }
  return Status(Code::kUnavailable, "nvJPEG is not there: " + problem);
}

}  // namespace floodgate::cuda
