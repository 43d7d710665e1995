// What a sandboxed worker answers, made safe to use.
//
// A worker has read bytes that strangers chose and may be theirs: nothing in its answer is believed but what
// it can only lie about, namely its own part. Thread rule: stateless.
#pragma once

#include "floodgate/job.h"

namespace floodgate::sandbox {

// Ends and cleans texts, clamps numbers to the job's limits. False when the answer makes no sense (an enum
// out of range, a sequence that does not move on): whoever sent it is not to be trusted with another job.
bool make_safe(const DecodeJob& job, DecodeResult& result);

}  // namespace floodgate::sandbox
