// What both ends of a connection want of nghttp2: its objects owned, its texts as views.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace floodgate::rpc {

struct Deleter {
  void operator()(nghttp2_option* option) const { nghttp2_option_del(option); }
  void operator()(nghttp2_session_callbacks* callbacks) const { nghttp2_session_callbacks_del(callbacks); }
  void operator()(nghttp2_session* session) const { nghttp2_session_del(session); }
};

inline std::string_view text_of(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

// Borrows both.
inline nghttp2_nv header(std::string_view name, std::string_view value) {
  // nghttp2 copies them and changes nothing.
  return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NONE};
}

// All that a session has to send now.
inline std::string output_of(nghttp2_session* session) {
  std::string out;
  const std::uint8_t* bytes = nullptr;
  for (ssize_t size = 0; (size = nghttp2_session_mem_send(session, &bytes)) > 0;) {
    out.append(text_of(bytes, static_cast<std::size_t>(size)));
  }
  return out;
}

}  // namespace floodgate::rpc
