// Which items of a HEIF file are made of which (ISO/IEC 23008-12): a grid of its tiles, a picture of its
// alpha plane. Readers follow these references without end where they go in a circle.
#pragma once

#include "floodgate/status.h"
#include "isobmff.h"

namespace floodgate {

// `iref`: the item reference box. Errors: kInvalidContent (a circle, or more than eight levels).
Status check_item_references(HeaderReader& reader, const Box& iref);

}  // namespace floodgate
