// The CPU quota of a container: Linux control groups, versions 1 and 2.
#pragma once

#include <string>

namespace nnkernels {

// CPUs that the quotas of the process's control group and of the groups above it allow, the least of them, rounded up. The
// largest int without a quota. Reads /proc/self/cgroup, /proc/self/mountinfo and the groups' files, all below `root`.
int cgroup_cpus(const std::string& root = "");

}  // namespace nnkernels
