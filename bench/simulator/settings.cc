#include "settings.h"

#include <cstdio>
#include <cstdlib>

namespace floodgate::simulator {

bool read(int count, char** arguments, Settings& settings) {
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    const std::size_t equals = argument.find('=');
    const std::string key = argument.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    if (settings.words.contains(key)) {
      settings.words[key] = value;
    } else if (settings.numbers.contains(key)) {
      char* end = nullptr;
      const double number = std::strtod(value.c_str(), &end);
      if (value.empty() || *end != '\0' || !(number >= 0 && number < 1e9)) {
        (void)std::fprintf(stderr, "simulator: %s wants a number from 0 to 1e9\n", key.c_str());
        return false;
      }
      settings.numbers[key] = number;
    } else {
      (void)std::fprintf(stderr, "simulator: there is no setting %s\n", key.c_str());
      return false;
    }
  }
  for (const char* key : {"rate", "seconds", "batch", "credit", "workers"}) {
    if (settings.number(key) > 0) continue;
    (void)std::fprintf(stderr, "simulator: %s must be above 0\n", key);
    return false;
  }
  for (const char* key : {"devices", "declared_devices"}) {
    const double devices = settings.number(key);
    if (devices == 1 || devices == 2 || (devices == 0 && key != std::string("devices"))) continue;
    (void)std::fprintf(stderr, "simulator: %s must be 1 or 2\n", key);
    return false;
  }
  return true;
}

}  // namespace floodgate::simulator
