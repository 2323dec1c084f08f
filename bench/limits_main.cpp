// Prints the limits of one core of this machine as JSON: operations or bytes per second, by name.
//
//     limits [fma/TARGET/TYPE | read/BYTES | copy/BYTES]...
//
// TYPE is float32 or float64. Without names: the fma peaks of all targets, and bandwidths from 32
// KiB to 256 MiB.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "limits.h"

namespace {

std::vector<std::string> all_names() {
  std::vector<std::string> names;
  for (const std::string& target : nnkernels::supported_targets()) {
    for (const char* type : {"float32", "float64"}) names.push_back("fma/" + target + "/" + type);
  }
  for (const char* kind : {"read", "copy"}) {
    for (const std::size_t kibibytes : {32u, 512u, 8192u, 262144u}) {
      names.push_back(std::string(kind) + "/" + std::to_string(kibibytes << 10));
    }
  }
  return names;
}

double measure(const std::string& name) {
  const std::size_t first = name.find('/'), last = name.rfind('/');
  const std::string kind = name.substr(0, first);
  const std::string detail = last == std::string::npos ? "" : name.substr(last + 1);
  if (kind == "fma" && last > first && (detail == "float32" || detail == "float64")) {
    return nnkernels::fma_peak(name.substr(first + 1, last - first - 1), detail == "float32" ? 4 : 8);
  }
  const std::size_t bytes = std::strtoull(detail.c_str(), nullptr, 10);
  if (kind == "read" && bytes != 0) return nnkernels::read_bandwidth(bytes);
  if (kind == "copy" && bytes > 1) return nnkernels::copy_bandwidth(bytes);
  throw std::invalid_argument("expected fma/TARGET/TYPE, read/BYTES or copy/BYTES, got " + name);
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> names = argc > 1 ? std::vector<std::string>(argv + 1, argv + argc) : all_names();
  const char* separator = "{";
  for (const std::string& name : names) {
    std::printf("%s\n  \"%s\": %.6g", separator, name.c_str(), measure(name));
    separator = ",";
  }
  std::puts("\n}");
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "limits: %s\n", error.what());
  return 2;
}
