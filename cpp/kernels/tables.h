// The piecewise polynomials of tanh and sigmoid in float, a row each, printed by cpp/fit_coefficients.py.
//
// A row's polynomial is about a centre where the function is all but a float (S. Gal, "Computing elementary functions", 1986),
// so that the leading coefficient costs no accuracy. Errors, relative: below 2^-26 for tanh, 2^-27 for sigmoid.
#pragma once

#include <cstddef>

namespace nnkernels {
namespace {

// 32 rows, for targets that load the row of each lane, and the same by columns, for those that look a column up in registers.
struct FloatTable {
  static constexpr std::size_t kRows = 32;
  static constexpr std::size_t kColumns = 8;
  alignas(64) float rows[kRows][kColumns];
  alignas(64) float columns[kColumns][kRows] = {};
};

constexpr FloatTable with_columns(FloatTable table) {
  for (std::size_t row = 0; row < FloatTable::kRows; ++row) {
    for (std::size_t column = 0; column < FloatTable::kColumns; ++column) table.columns[column][row] = table.rows[row][column];
  }
  return table;
}

// clang-format off

// tanh(x) = c0 + c1 t + ... + c5 t^5 with t = x - centre. Row: a float's bits 21 to 25, which are two of the fraction and the
// exponent's lowest three. One row serves all x < 2^-3: tanh(x) = x + c1 x + ... + c5 x^5.
//   centre, c0, c1, ..., c5, unused
constexpr FloatTable kTanhTable = with_columns({{
    {0x1.1f7efap+1f, 0x1.f4a952p-1f, 0x1.66d136p-5f, -0x1.5edc72p-5f, 0x1.bf0378p-6f, -0x1.986acep-7f, 0x1.04907p-8f, 0},
    {0x1.603b64p+1f, 0x1.fbd8e2p-1f, 0x1.08b39ap-6f, -0x1.068a1ep-6f, 0x1.585acap-7f, -0x1.503406p-8f, 0x1.f6708p-10f, 0},
    {0x1.9fdf3cp+1f, 0x1.fe75bp-1f, 0x1.89b83p-8f, -0x1.88824p-8f, 0x1.041a6p-8f, -0x1.03ba9ep-9f, 0x1.944cfap-11f, 0},
    {0x1.dfe76cp+1f, 0x1.ff6eep-1f, 0x1.2216e6p-9f, -0x1.21bfbep-9f, 0x1.817afcp-10f, -0x1.840b1cp-11f, 0x1.331fcep-12f, 0},
    {0x1.201aap+2f, 0x1.ffdfc2p-1f, 0x1.01ea14p-11f, -0x1.018758p-11f, 0x1.571f9ap-12f, -0x1.676d16p-13f, 0x1.1fb05p-14f, 0},
    {0x1.605e36p+2f, 0x1.fffbacp-1f, 0x1.1501dap-14f, -0x1.14a4p-14f, 0x1.709866p-15f, -0x1.82c50ep-16f, 0x1.38b934p-17f, 0},
    {0x1.9f1aap+2f, 0x1.ffff64p-1f, 0x1.37fcc4p-17f, -0x1.378684p-17f, 0x1.9ffb4p-18f, -0x1.b49ba6p-19f, 0x1.5324p-20f, 0},
    {0x1.e0d2f2p+2f, 0x1.ffffecp-1f, 0x1.401c28p-20f, -0x1.416p-20f, 0x1.a9eb4cp-21f, -0x1.a505p-22f, 0x1.732aep-23f, 0},
    {0x1.14655cp+3f, 0x1.fffffep-1f, 0x1.0e316ap-23f, -0x1.250046p-22f, -0x1.ed4432p-28f, 0x1.b2f55p-21f, 0x1.10a2bap-20f, 0},
    {0, 0, 0, 0, 0, 0, 0, 0},
    {0, 0, 0, 0, 0, 0, 0, 0},
    {0, 0, 0, 0, 0, 0, 0, 0},
    {0, 0, 0, 0, 0, 0, 0, 0},
    {0, 0, 0, 0, 0, 0, 0, 0},
    {0, 0, 0, 0, 0, 0, 0, 0},
    {0, 0, -0x1.47a3e2p-30f, 0x1.dc5abp-22f, -0x1.555c2ep-2f, 0x1.0d1c66p-11f, 0x1.09eaf6p-3f, 0},
    {0x1.20147ap-3f, 0x1.1e31e4p-3f, 0x1.f60064p-1f, -0x1.189ba8p-3f, -0x1.3b1a86p-2f, 0x1.7bfbfep-4f, 0x1.e5d42ep-3f, 0},
    {0x1.601688p-3f, 0x1.5ca8e8p-3f, 0x1.f12922p-1f, -0x1.528dbep-3f, -0x1.2e3988p-2f, 0x1.a7616cp-4f, -0x1.26999p+0f, 0},
    {0x1.a06e98p-3f, 0x1.9ac942p-3f, 0x1.eb66b6p-1f, -0x1.8a41cap-3f, -0x1.201f32p-2f, 0x1.d9cd3ep-4f, 0x1.e31c68p-3f, 0},
    {0x1.dfa3d8p-3f, 0x1.d70f16p-3f, 0x1.e4e9bcp-1f, -0x1.be23cep-3f, -0x1.1003ap-2f, 0x1.19d47p-3f, 0x1.9e99d6p-3f, 0},
    {0x1.1db02p-2f, 0x1.167fd8p-2f, 0x1.da20c2p-1f, -0x1.01e63p-2f, -0x1.ebafc2p-3f, 0x1.31d076p-3f, -0x1.c7916cp-7f, 0},
    {0x1.5ea5e4p-2f, 0x1.518e68p-2f, 0x1.c85cf8p-1f, -0x1.2ce016p-2f, -0x1.9a0918p-3f, 0x1.4f5248p-3f, 0x1.caffd6p-10f, 0},
    {0x1.9f624ep-2f, 0x1.8a019p-2f, 0x1.b432e6p-1f, -0x1.4fac6ep-2f, -0x1.43439p-3f, 0x1.5b7cb2p-3f, -0x1.6497bp-12f, 0},
    {0x1.e1418ap-2f, 0x1.c0b25cp-2f, 0x1.9db1e8p-1f, -0x1.6a8bccp-2f, -0x1.d3a764p-4f, 0x1.5837d2p-3f, -0x1.0d0c62p-5f, 0},
    {0x1.20b646p-1f, 0x1.058f3cp-1f, 0x1.7a615p-1f, -0x1.8298dep-2f, -0x1.b61a8p-5f, 0x1.394d68p-3f, -0x1.5e3c56p-5f, 0},
    {0x1.618b44p-1f, 0x1.32561ap-1f, 0x1.48b706p-1f, -0x1.895946p-2f, 0x1.03722p-6f, 0x1.e54904p-4f, -0x1.07307p-4f, 0},
    {0x1.a03334p-1f, 0x1.57a524p-1f, 0x1.195a08p-1f, -0x1.79ad3p-2f, 0x1.07a0cep-4f, 0x1.470034p-4f, -0x1.eb106p-5f, 0},
    {0x1.e0bc6ap-1f, 0x1.782f04p-1f, 0x1.d735dcp-2f, -0x1.5a36c4p-2f, 0x1.85349cp-4f, 0x1.5f5d7ep-5f, -0x1.ae13ccp-5f, 0},
    {0x1.1dc6a8p+0f, 0x1.9cd10ep-1f, 0x1.664e72p-2f, -0x1.20e5e8p-2f, 0x1.c5f02cp-4f, 0x1.4c1692p-8f, -0x1.073aaap-5f, 0},
    {0x1.60b646p+0f, 0x1.c2caccp-1f, 0x1.cc64d2p-3f, -0x1.955b86p-3f, 0x1.96e2c4p-4f, -0x1.5c315ep-6f, -0x1.3a5326p-7f, 0},
    {0x1.a03b64p+0f, 0x1.d9d80ap-1f, 0x1.25dfeap-3f, -0x1.0ff988p-3f, 0x1.337ebep-4f, -0x1.9bb30ep-6f, 0x1.749a04p-10f, 0},
    {0x1.dfd2f2p+0f, 0x1.e87086p-1f, 0x1.704b3ep-4f, -0x1.5f58c4p-4f, 0x1.a8d5c6p-5f, -0x1.55d69p-6f, 0x1.2b5892p-8f, 0},
}});

// e^r / (1 + 2^n e^r) = c0 + c1 t + ... + c6 t^6 with t = r + n (low(log 2) - shift). Row: n modulo 32, for 0 >= n >= -31; that
// of -31 holds e^r.
//   shift, c0, c1, ..., c6
constexpr FloatTable kSigmoidTable = with_columns({{
    {-0x1.05c61p-29f, 0x1p-1f, 0x1p-2f, 0x1.130e1cp-24f, -0x1.554d82p-6f, 0x1.4b7326p-16f, 0x1.1ddcccp-9f, 0x1.e1d7aap-13f},
    {-0x1.05c61p-29f, 0x1p+0f, 0x1p+0f, 0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558b4p-5f, 0x1.12399ep-7f, 0x1.6a4948p-10f},
    {0x1.65e1cap-16f, 0x1.ffac24p-1f, 0x1.ffac26p-1f, 0x1.ffac28p-2f, 0x1.551bap-3f, 0x1.55188ap-5f, 0x1.127d4p-7f, 0x1.70f02ep-10f},
    {-0x1.5e03f4p-14f, 0x1.009ecap+0f, 0x1.009ecap+0f, 0x1.009ec8p-1f, 0x1.562848p-3f, 0x1.562cdp-5f, 0x1.12e2b2p-7f, 0x1.6a8f8ap-10f},
    {0x1.a366p-16f, 0x1.ffa448p-1f, 0x1.ffa44ap-1f, 0x1.ffa448p-2f, 0x1.55165p-3f, 0x1.551604p-5f, 0x1.1281fap-7f, 0x1.6ef6a8p-10f},
    {-0x1.cbd3f6p-14f, 0x1.00c246p+0f, 0x1.00c246p+0f, 0x1.00c244p-1f, 0x1.565782p-3f, 0x1.565bdcp-5f, 0x1.1310cp-7f, 0x1.6ae3aap-10f},
    {0x1.03b86p-13f, 0x1.fe5aap-1f, 0x1.fe5aap-1f, 0x1.fe5a9cp-2f, 0x1.543b6cp-3f, 0x1.543e02p-5f, 0x1.116e7ap-7f, 0x1.6ab98ap-10f},
    {0x1.c85306p-15f, 0x1.ff4ddcp-1f, 0x1.ff4ddcp-1f, 0x1.ff4dd4p-2f, 0x1.54dd5cp-3f, 0x1.54e1acp-5f, 0x1.120446p-7f, 0x1.6a5f0cp-10f},
    {-0x1.05c61p-29f, 0x1.fffffep-1f, 0x1.fffffep-1f, 0x1.fffffcp-2f, 0x1.555382p-3f, 0x1.555058p-5f, 0x1.12a7d2p-7f, 0x1.713482p-10f},
    {-0x1.05c61p-29f, 0x1.fffffcp-1f, 0x1.fffffap-1f, 0x1.fffff4p-2f, 0x1.555376p-3f, 0x1.55503ep-5f, 0x1.12a8c8p-7f, 0x1.713bfap-10f},
    {-0x1.05c61p-29f, 0x1.fffff8p-1f, 0x1.fffff2p-1f, 0x1.ffffe4p-2f, 0x1.555362p-3f, 0x1.555018p-5f, 0x1.12a76ap-7f, 0x1.7133e8p-10f},
    {-0x1.05c61p-29f, 0x1.fffffp-1f, 0x1.ffffe2p-1f, 0x1.ffffc4p-2f, 0x1.555336p-3f, 0x1.554fbep-5f, 0x1.12a7fap-7f, 0x1.7139dcp-10f},
    {-0x1.05c61p-29f, 0x1.ffffep-1f, 0x1.ffffc2p-1f, 0x1.ffff84p-2f, 0x1.5552e2p-3f, 0x1.554f18p-5f, 0x1.12a5ccp-7f, 0x1.7130acp-10f},
    {-0x1.05c61p-29f, 0x1.ffffcp-1f, 0x1.ffff82p-1f, 0x1.ffff04p-2f, 0x1.555238p-3f, 0x1.554dc4p-5f, 0x1.12a308p-7f, 0x1.712752p-10f},
    {-0x1.05c61p-29f, 0x1.ffff8p-1f, 0x1.ffff02p-1f, 0x1.fffe04p-2f, 0x1.5550e2p-3f, 0x1.554b1cp-5f, 0x1.129fa4p-7f, 0x1.711dd4p-10f},
    {-0x1.05c61p-29f, 0x1.ffffp-1f, 0x1.fffe02p-1f, 0x1.fffc04p-2f, 0x1.554e38p-3f, 0x1.5545d8p-5f, 0x1.1296c2p-7f, 0x1.70f6bcp-10f},
    {0x1.a35dd2p-17f, 0x1.ffe3cap-1f, 0x1.ffe1ccp-1f, 0x1.ffddccp-2f, 0x1.55378ap-3f, 0x1.552bdep-5f, 0x1.12697p-7f, 0x1.6f25bcp-10f},
    {-0x1.92b794p-17f, 0x1.0009ccp+0f, 0x1.0007ccp+0f, 0x1.0003cap-1f, 0x1.554ed6p-3f, 0x1.553d3cp-5f, 0x1.120d2cp-7f, 0x1.69f8c6p-10f},
    {0x1.139e22p-14f, 0x1.ff7f7cp-1f, 0x1.ff7782p-1f, 0x1.ff678ep-2f, 0x1.54d8a4p-3f, 0x1.54a9c4p-5f, 0x1.11da38p-7f, 0x1.7048a2p-10f},
    {0x1.3f690ep-12f, 0x1.fdea1cp-1f, 0x1.fdda3ep-1f, 0x1.fdba7ep-2f, 0x1.53a65p-3f, 0x1.5354a4p-5f, 0x1.102e9p-7f, 0x1.67867cp-10f},
    {-0x1.05c61p-29f, 0x1.ffe002p-1f, 0x1.ffc008p-1f, 0x1.ff8016p-2f, 0x1.54a90ap-3f, 0x1.53fb8ap-5f, 0x1.107ed8p-7f, 0x1.6b7056p-10f},
    {-0x1.05c61p-29f, 0x1.ffc008p-1f, 0x1.ff801ap-1f, 0x1.ff004ap-2f, 0x1.53fecep-3f, 0x1.52a90cp-5f, 0x1.0e5842p-7f, 0x1.6490d6p-10f},
    {0x1.c0c95ap-13f, 0x1.fe687ap-1f, 0x1.fde946p-1f, 0x1.fceb1ap-2f, 0x1.51f41cp-3f, 0x1.4f533ap-5f, 0x1.09277p-7f, 0x1.54674ap-10f},
    {0x1.1e9bdap-12f, 0x1.fdbfb6p-1f, 0x1.fcc1f6p-1f, 0x1.fac76ep-2f, 0x1.4f37ep-3f, 0x1.49fca2p-5f, 0x1.00b69cp-7f, 0x1.3f2b4ap-10f},
    {-0x1.05c61p-29f, 0x1.fe01fep-1f, 0x1.fc05f8p-1f, 0x1.f811dep-2f, 0x1.4acdf4p-3f, 0x1.406cfp-5f, 0x1.e111a6p-8f, 0x1.134abcp-10f},
    {-0x1.3196c8p-13f, 0x1.fc8ba2p-1f, 0x1.f89968p-1f, 0x1.f0c4ap-2f, 0x1.40db7cp-3f, 0x1.2c946ep-5f, 0x1.a23c4ep-8f, 0x1.8a3e9ap-11f},
    {0x1.bf605ep-15f, 0x1.f7f6dap-1f, 0x1.f036a2p-1f, 0x1.e0f33cp-2f, 0x1.2cc0e4p-3f, 0x1.065dd2p-5f, 0x1.2e2b48p-8f, 0x1.d3babep-13f},
    {0x1.0c4ecp-18f, 0x1.f079a8p-1f, 0x1.e16e48p-1f, 0x1.c440fap-2f, 0x1.085fd6p-3f, 0x1.865c14p-6f, 0x1.ba37e6p-10f, -0x1.234472p-11f},
    {0x1.8e7474p-13f, 0x1.e189acp-1f, 0x1.c53b76p-1f, 0x1.8ff2f6p-2f, 0x1.93b782p-4f, 0x1.665e3ap-7f, -0x1.224bb4p-9f, -0x1.575132p-10f},
    {0x1.70bfacp-10f, 0x1.c5682p-1f, 0x1.933786p-1f, 0x1.39f2ep-2f, 0x1.b82512p-5f, -0x1.2fae78p-8f, -0x1.536e88p-8f, -0x1.36991ap-10f},
    {0x1.c2e2bcp-12f, 0x1.99517ap-1f, 0x1.4782cep-1f, 0x1.893174p-3f, 0x1.1a9f2ap-8f, -0x1.e1c0eep-7f, -0x1.f238b8p-9f, 0x1.577a4cp-12f},
    {-0x1.5768a4p-8f, 0x1.5686dap-1f, 0x1.c7e76ap-2f, 0x1.2dcf7ep-4f, -0x1.9814f6p-6f, -0x1.5038aap-7f, 0x1.07aa0ap-10f, 0x1.1f7f58p-10f},
}});

// clang-format on

}  // namespace
}  // namespace nnkernels
