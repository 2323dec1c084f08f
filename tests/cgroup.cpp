// Checks the CPU quotas read from fake control groups, in a temporary directory instead of /proc
// and /sys.
#include "cgroup.h"

#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <string>
#include <vector>

using namespace nnkernels;

constexpr int kUnlimited = std::numeric_limits<int>::max();

// Lines of /proc/self/mountinfo: an ordinary file system, and control groups.
static const std::string kOther = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n";
static const std::string kMount2 = kOther + "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
static const std::string kMount1 = kOther +
                                   "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                                   "32 24 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
                                   "33 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n";
static const std::string kElsewhere2 = "30 24 0:26 / /mnt/groups rw - cgroup2 none rw\n";
static const std::string kDocker1 = "33 24 0:29 /docker/0123 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n";
static const std::string kEscaped2 = "30 24 0:26 / /mnt/my\\040groups\\134040 rw - cgroup2 none rw\n";
static const std::string kEscapedRoot2 = "30 24 0:26 /a\\011b\\134c /sys/fs/cgroup rw - cgroup2 none rw\n";
static const std::string kEscapedRoot1 = "33 24 0:29 /a\\040b /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu\n";
static const std::string kUnified = "40 24 0:30 / /unified rw - cgroup2 cgroup2 rw\n";

static std::string groups_1(const std::string& group) {
  return "5:memory:/other\n4:cpu,cpuacct:" + group + "\n3:cpuset:/other\n";
}

using Files = std::map<std::string, std::string>;  // path to contents

// The files of control groups, given as a map from path to quota.
static Files quotas_2(const Files& groups, const std::string& mount = "/sys/fs/cgroup") {
  Files files;
  for (const auto& [group, quota] : groups) files[mount + group + "/cpu.max"] = quota + "\n";
  return files;
}

static Files quotas_1(const Files& groups, const std::string& period = "100000", const std::string& mount = "cpu,cpuacct") {
  Files files;
  for (const auto& [group, quota] : groups) {
    files["/sys/fs/cgroup/" + mount + group + "/cpu.cfs_quota_us"] = quota + "\n";
    files["/sys/fs/cgroup/" + mount + group + "/cpu.cfs_period_us"] = period + "\n";
  }
  return files;
}

struct Case {
  const char* name;
  std::string groups;  // /proc/self/cgroup
  std::string mounts;  // /proc/self/mountinfo
  Files files;
  int cpus;
};

static std::vector<Case> cases() {
  return {
      {"2", "0::/a\n", kMount2, quotas_2({{"/a", "200000 100000"}}), 2},
      {"2, rounded up", "0::/a\n", kMount2, quotas_2({{"/a", "150000 100000"}}), 2},
      {"2, rounded up from little", "0::/a\n", kMount2, quotas_2({{"/a", "200001 100000"}}), 3},
      {"2, less than a CPU", "0::/a\n", kMount2, quotas_2({{"/a", "1000 100000"}}), 1},
      {"2, another period", "0::/a\n", kMount2, quotas_2({{"/a", "30000 10000"}}), 3},
      {"2, no limit", "0::/a\n", kMount2, quotas_2({{"/a", "max 100000"}}), kUnlimited},
      {"2, root of a namespace", "0::/\n", kMount2, quotas_2({{"", "400000 100000"}}), 4},
      {"2, limit above", "0::/a/b/c\n", kMount2, quotas_2({{"/a/b/c", "max 100000"}, {"/a", "300000 100000"}}), 3},
      {"2, least above", "0::/a/b\n", kMount2, quotas_2({{"/a/b", "500000 100000"}, {"/a", "300000 100000"}}), 3},
      {"2, least below", "0::/a/b\n", kMount2, quotas_2({{"/a/b", "200000 100000"}, {"/a", "300000 100000"}}), 2},
      {"2, limits of others", "0::/a\n", kMount2, quotas_2({{"/b", "1 1"}, {"/a/b", "1 1"}, {"/ab", "1 1"}}), kUnlimited},
      {"2, no controller of CPUs", "0::/a\n", kMount2, {}, kUnlimited},
      {"2, group outside the namespace", "0::/../../b\n", kMount2, quotas_2({{"", "200000 100000"}, {"/b", "1 1"}}), 2},
      {"2, group of the host", "0::/docker/0123\n", kMount2, quotas_2({{"", "200000 100000"}}), 2},
      {"2, colons and spaces", "0::/a:b c/d\n", kMount2, quotas_2({{"/a:b c", "200000 100000"}}), 2},
      {"2, mounted elsewhere", "0::/a\n", kElsewhere2, quotas_2({{"/a", "200000 100000"}}, "/mnt/groups"), 2},
      {"2, escapes in the mount", "0::/a\n", kEscaped2, quotas_2({{"/a", "200000 100000"}}, "/mnt/my groups\\040"), 2},
      {"2, escapes in the root", "0::/a\tb\\c/d\n", kEscapedRoot2, quotas_2({{"/d", "200000 100000"}}), 2},
      {"1", groups_1("/a"), kMount1, quotas_1({{"/a", "250000"}}), 3},
      {"1, another period", groups_1("/a"), kMount1, quotas_1({{"/a", "250000"}}, "50000"), 5},
      {"1, no limit", groups_1("/a"), kMount1, quotas_1({{"/a", "-1"}}), kUnlimited},
      {"1, limit above", groups_1("/a/b"), kMount1, quotas_1({{"/a/b", "-1"}, {"/a", "50000"}}), 1},
      {"1, group of the mount", groups_1("/docker/0123"), kDocker1, quotas_1({{"", "200000"}}), 2},
      {"1, group below it", groups_1("/docker/0123/a"), kDocker1, quotas_1({{"/a", "200000"}}), 2},
      {"1, group beside it", groups_1("/docker/01234"), kDocker1, quotas_1({{"", "200000"}, {"4", "100000"}}), 2},
      {"1, escapes in the root", groups_1("/a b/c"), kEscapedRoot1, quotas_1({{"/c", "200000"}}), 2},
      {"1, group of the host", groups_1("/docker/0123"), kMount1, quotas_1({{"", "200000"}}), 2},
      {"1, group of another controller", groups_1("/a"), kMount1, quotas_1({{"/other", "100000"}}), kUnlimited},
      {"1, mount of another controller", groups_1("/a"), kMount1, quotas_1({{"/a", "100000"}}, "100000", "cpuset"), kUnlimited},
      {"1, period beyond 64 bits", groups_1("/a"), kMount1, quotas_1({{"/a", "100000"}}, "92233720368547758080"), kUnlimited},
      {"1, no number", groups_1("/a"), kMount1, quotas_1({{"/a", "x"}}), kUnlimited},
      {"1, no period", groups_1("/a"), kMount1, quotas_1({{"/a", "100000"}}, ""), kUnlimited},
      {"both, CPUs in 1", groups_1("/a") + "0::/b\n", kMount1 + kUnified, quotas_1({{"/a", "200000"}}), 2},
      {"both, CPUs in 2", "0::/a\n4:cpuset:/b\n", kMount1 + kUnified, quotas_2({{"/a", "200000 100000"}}, "/unified"), 2},
      {"largest quota", "0::/a\n", kMount2, quotas_2({{"/a", "9223372036854775807 1"}}), kUnlimited},
      {"quota beyond 64 bits", "0::/a\n", kMount2, quotas_2({{"/a", "92233720368547758080 100000"}}), kUnlimited},
      {"period beyond 64 bits", "0::/a\n", kMount2, quotas_2({{"/a", "100000 92233720368547758080"}}), kUnlimited},
      {"period of 0", "0::/a\n", kMount2, quotas_2({{"/a", "100000 0"}}), kUnlimited},
      {"negative", "0::/a\n", kMount2, quotas_2({{"/a", "-100000 100000"}}), kUnlimited},
      {"quota of 0", "0::/a\n", kMount2, quotas_2({{"/a", "0 100000"}}), kUnlimited},
      {"no period", "0::/a\n", kMount2, quotas_2({{"/a", "100000"}}), kUnlimited},
      {"empty", "0::/a\n", kMount2, quotas_2({{"/a", ""}}), kUnlimited},
      {"words", "0::/a\n", kMount2, quotas_2({{"/a", "one two"}}), kUnlimited},
      {"malformed groups", "\n:\n::\n0:\nx\n3:cpu\n4:cpu:\n5:cpu:a/b\n0::a\n", kMount2 + kMount1, {}, kUnlimited},
      {"malformed mounts",
       "0::/a\n",
       "\n - cgroup2\n1 2 3 4 \\ - cgroup2\n1 2 3 \\9 \\777\\0 - cgroup2\n - cgroup\n1 2 3 - cgroup2\nx - cgroup c rw,cpu\n",
       {},
       kUnlimited},
      {"no groups", "", kMount2, quotas_2({{"/a", "100000 100000"}}), kUnlimited},
      {"no mounts", "0::/a\n", "", quotas_2({{"/a", "100000 100000"}}), kUnlimited},
  };
}

static void write(const std::filesystem::path& path, const std::string& contents) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << contents;
}

int main() {
  std::string directory = (std::filesystem::temp_directory_path() / "nnkernels-XXXXXX").string();
  if (mkdtemp(directory.data()) == nullptr) return 2;
  int failures = 0;
  const auto check = [&](const char* name, int cpus, int expected) {
    if (cpus == expected) return;
    std::printf("FAILED %s: %d, expected %d\n", name, cpus, expected);
    ++failures;
  };
  check("no files", cgroup_cpus(directory + "/none"), kUnlimited);
  int number = 0;
  for (const Case& one : cases()) {
    const std::string root = directory + "/" + std::to_string(number++);
    write(root + "/proc/self/cgroup", one.groups);
    write(root + "/proc/self/mountinfo", one.mounts);
    for (const auto& [path, contents] : one.files) write(root + path, contents);
    check(one.name, cgroup_cpus(root), one.cpus);
  }
  std::filesystem::remove_all(directory);
  std::printf("%d cases, %d failures\n", number + 1, failures);
  return failures != 0;
}
