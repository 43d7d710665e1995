// Compiled once for each instruction set by Highway, which picks one at run time.

// The processors with vpdpbusd: Ice Lake and later, Zen 4 and later.
#define HWY_WANT_AVX3_DL
// Without scalable vectors, whose types cannot be laid out at compile time: such processors have NEON too.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

#include "passes.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "view/passes.cc"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "kernel.h"

#if HWY_TARGET == HWY_SCALAR
#include "passes_plain-inl.h"
#else
#include "passes_simd-inl.h"
#endif
#if HWY_TARGET == HWY_AVX3_DL
#include "passes_dot-inl.h"
#endif

HWY_BEFORE_NAMESPACE();
namespace floodgate::HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR
constexpr WeightForm kForm = WeightForm::kWhole;
#elif HWY_TARGET == HWY_AVX3_DL
constexpr WeightForm kForm = WeightForm::kDigits;
#else
constexpr WeightForm kForm = WeightForm::kHalves;
#endif

const PassFunctions* functions() {
#if HWY_TARGET == HWY_AVX3_DL
  constexpr auto kFilterRows = &dot_filter_rows;
  constexpr auto kFilterColumns = &dot_filter_columns;
#else
  constexpr auto kFilterRows = &filter_rows;
  constexpr auto kFilterColumns = &filter_columns;
#endif
  static constexpr PassFunctions kFunctions = {kForm,      &gather,     kFilterRows, kFilterColumns,
                                               &composite, &drop_alpha, &reverse,    &split};
  return &kFunctions;
}

}  // namespace
}  // namespace floodgate::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace floodgate {

HWY_EXPORT(functions);

const PassFunctions& pass_functions() { return *HWY_DYNAMIC_DISPATCH(functions)(); }

}  // namespace floodgate
#endif
