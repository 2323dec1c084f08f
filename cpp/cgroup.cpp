#include "cgroup.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>

namespace nnkernels {
namespace {

constexpr int kUnlimited = std::numeric_limits<int>::max();

enum class Version { k1, k2 };

bool list_contains(const std::string& list, const std::string& name) {
  return ("," + list + ",").find("," + name + ",") != std::string::npos;
}

// CPUs allowed by the group's own files: quota divided by period, both in microseconds.
int group_cpus(const std::string& group, Version version) {
  long long quota = 0;
  long long period = 0;
  if (version == Version::k2) {
    if (!(std::ifstream(group + "/cpu.max") >> quota >> period)) return kUnlimited;  // "max 100000", or no file
  } else {
    if (!(std::ifstream(group + "/cpu.cfs_quota_us") >> quota)) return kUnlimited;
    if (!(std::ifstream(group + "/cpu.cfs_period_us") >> period)) return kUnlimited;
  }
  if (quota <= 0 || period <= 0) return kUnlimited;  // -1 in version 1
  return static_cast<int>(std::min<long long>(quota / period + (quota % period != 0), kUnlimited));
}

// The lowest quota on the path from a mounted hierarchy's root to `group`, such as "/a/b" or "".
int least_cpus(const std::string& mount, std::string group, Version version) {
  int least = group_cpus(mount, version);
  for (; !group.empty(); group.erase(group.rfind('/'))) least = std::min(least, group_cpus(mount + group, version));
  return least;
}

// The group's path below a mount whose root is `mount_root`. "" if the mount does not contain the
// group, as in a container that sees the host's group names.
std::string path_below(const std::string& mount_root, const std::string& group) {
  const std::string root = mount_root == "/" ? "" : mount_root;
  const std::string below = group.compare(0, root.size(), root) == 0 ? group.substr(root.size()) : "";
  return below[0] == '/' ? below : "";
}

// Undoes the escapes of mountinfo: "\040" is a space.
std::string unescape(std::string path) {
  for (std::size_t at = 0; (at = path.find('\\', at)) != std::string::npos; ++at) {
    path.replace(at, 4, 1, static_cast<char>(std::strtol(path.substr(at + 1, 3).c_str(), nullptr, 8)));
  }
  return path;
}

}  // namespace

int cgroup_cpus(const std::string& root) {
  std::string group_1, group_2;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // hierarchy:controllers:path
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (line.compare(0, 3, "0::") == 0) group_2 = path;
    if (list_contains(controllers, "cpu")) group_1 = path;
  }

  int least = kUnlimited;
  std::ifstream mounts(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {  // id parent device root mount options ... - type source options
    const std::size_t separator = line.find(" - cgroup");
    if (separator == std::string::npos) continue;
    std::string skipped, mount_root, mount, type, options;
    std::istringstream(line) >> skipped >> skipped >> skipped >> mount_root >> mount;
    mount_root = unescape(mount_root);
    mount = unescape(mount);
    std::istringstream(line.substr(separator + 3)) >> type >> skipped >> options;
    if (type == "cgroup2") {
      least = std::min(least, least_cpus(root + mount, path_below(mount_root, group_2), Version::k2));
    } else if (list_contains(options, "cpu")) {
      least = std::min(least, least_cpus(root + mount, path_below(mount_root, group_1), Version::k1));
    }
  }
  return least;
}

}  // namespace nnkernels
