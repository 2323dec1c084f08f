// The CPU quota of a container: Linux control groups, versions 1 and 2.
#pragma once

#include <string>

namespace nnkernels {

// The lowest CPU quota among the process's control group and its ancestors, rounded up; the largest
// int if there is no quota. Reads /proc/self/cgroup, /proc/self/mountinfo and the groups' files,
// all below `root`.
int cgroup_cpus(const std::string& root = "");

}  // namespace nnkernels
