// What nvJPEG's answers come to; a library of the tests' own stands in for it.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <vector>

#include "cuda/jpeg_decoder.h"
#include "cuda/nvjpeg_abi.h"
#include "fake_nvjpeg.h"

namespace floodgate {
namespace {

using cuda::JpegOutcome;
using testing::FakeNvjpeg;

class Nvjpeg : public ::testing::Test {
 protected:
  void SetUp() override {
    auto loaded = cuda::load_nvjpeg(FLOODGATE_FAKE_NVJPEG);
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    library = std::move(loaded).value();
    void* const same = dlopen(FLOODGATE_FAKE_NVJPEG, RTLD_NOW | RTLD_NOLOAD);
    ASSERT_NE(same, nullptr);
    fake = static_cast<FakeNvjpeg*>(dlsym(same, "fake_nvjpeg"));
    ASSERT_NE(fake, nullptr);
    fake->with_flags = fake->without_flags = fake->hardware = fake->batch = fake->single = 0;
    fake->bad = 0;
    fake->singles = 0;
  }

  // Decodes pictures of one byte each.
  std::vector<JpegOutcome> outcomes(const std::vector<unsigned char>& encoded) const {
    auto decoder = library->make_decoder();
    EXPECT_TRUE(decoder.ok());
    std::vector<cuda::JpegPicture> pictures;
    for (const unsigned char& byte : encoded) pictures.push_back({{&byte, 1}, 8, 8, nullptr, 24});
    decoder.value()->decode(pictures, nullptr);
    std::vector<JpegOutcome> all;
    for (const auto& picture : pictures) all.push_back(picture.outcome);
    return all;
  }

  std::unique_ptr<cuda::JpegLibrary> library;
  FakeNvjpeg* fake = nullptr;
};

TEST_F(Nvjpeg, DecodersThatKnowTheFlagsAreNamedByVersionAlone) {
  ASSERT_TRUE(library->make_decoder().ok());
  EXPECT_EQ(library->version(), "10.11.12");
}

TEST_F(Nvjpeg, WhoDoesNotKnowTheFlagsIsAskedWithoutAndNamedSo) {
  fake->with_flags = cuda::nvjpeg::kInvalidParameter;
  ASSERT_TRUE(library->make_decoder().ok());
  EXPECT_EQ(library->version(), "10.11.12 plain plain-hardware");
}

TEST_F(Nvjpeg, ADecoderThatIsNotThereHasNoFlags) {
  fake->with_flags = cuda::nvjpeg::kInvalidParameter;
  fake->hardware = cuda::nvjpeg::kInternalError;
  ASSERT_TRUE(library->make_decoder().ok());
  EXPECT_EQ(library->version(), "10.11.12 plain");
}

TEST_F(Nvjpeg, AnyOtherErrorIsNotTakenForOldAge) {
  fake->with_flags = cuda::nvjpeg::kAllocatorFailure;
  EXPECT_EQ(library->make_decoder().status().code(), Code::kUnavailable);
  EXPECT_EQ(library->version(), "10.11.12");
}

TEST_F(Nvjpeg, OfABatchThatFailsEachPictureIsTriedByItself) {
  fake->bad = 'x';
  for (const int status : {cuda::nvjpeg::kExecutionFailed, cuda::nvjpeg::kInternalError, 99}) {
    fake->batch = status;
    EXPECT_EQ(outcomes({'a', 'x', 'b'}),
              (std::vector{JpegOutcome::kDecoded, JpegOutcome::kFailed, JpegOutcome::kDecoded}));
  }
  EXPECT_EQ(fake->singles, 9);
}

TEST_F(Nvjpeg, ToldApartIsWhatPassesWhatIsRefusedAndWhatFailed) {
  fake->batch = cuda::nvjpeg::kAllocatorFailure;
  EXPECT_EQ(outcomes({'a'}), std::vector{JpegOutcome::kNoMemory});
  fake->batch = cuda::nvjpeg::kExecutionFailed;
  EXPECT_EQ(outcomes({'a'}), std::vector{JpegOutcome::kFailed});
  fake->batch = 3;  // NVJPEG_STATUS_BAD_JPEG
  EXPECT_EQ(outcomes({'a'}), std::vector{JpegOutcome::kRefused});
}

}  // namespace
}  // namespace floodgate
