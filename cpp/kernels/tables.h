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
    {0x1.7dp-17f, 0x1.ffd35ap-1f, 0x1.ffd35cp-1f, 0x1.ffd35ep-2f, 0x1.5535c2p-3f, 0x1.553282p-5f, 0x1.129384p-7f, 0x1.713722p-10f},
    {-0x1.0dp-17f, 0x1.000f3cp+0f, 0x1.000f3cp+0f, 0x1.000f3ap-1f, 0x1.5568dep-3f, 0x1.556ccep-5f, 0x1.124a72p-7f, 0x1.6a7964p-10f},
    {-0x1.94p-17f, 0x1.001618p+0f, 0x1.001618p+0f, 0x1.001616p-1f, 0x1.5571fcp-3f, 0x1.5575d8p-5f, 0x1.125482p-7f, 0x1.6a932p-10f},
    {-0x1.2bp-17f, 0x1.000fc4p+0f, 0x1.000fc4p+0f, 0x1.000fc2p-1f, 0x1.55697ep-3f, 0x1.556d2ep-5f, 0x1.1252d4p-7f, 0x1.6ab22ep-10f},
    {-0x1.ecp-19f, 0x1.00063ep+0f, 0x1.00063ep+0f, 0x1.00063ap-1f, 0x1.555cacp-3f, 0x1.556222p-5f, 0x1.12548p-7f, 0x1.69cc8cp-10f},
    {0x1.f8p-18f, 0x1.ffe762p-1f, 0x1.ffe762p-1f, 0x1.ffe75ap-2f, 0x1.5543b4p-3f, 0x1.55484ap-5f, 0x1.12570cp-7f, 0x1.6a7b5ep-10f},
    {0x1.a5p-17f, 0x1.ffd886p-1f, 0x1.ffd886p-1f, 0x1.ffd88p-2f, 0x1.55392ep-3f, 0x1.553906p-5f, 0x1.1295c4p-7f, 0x1.6ef3a6p-10f},
    {0x1.e2p-18f, 0x1.ffea54p-1f, 0x1.ffea52p-1f, 0x1.ffea48p-2f, 0x1.554504p-3f, 0x1.5544d8p-5f, 0x1.129eaap-7f, 0x1.6ef788p-10f},
    {0x1.b8p-17f, 0x1.ffda28p-1f, 0x1.ffda22p-1f, 0x1.ffda12p-2f, 0x1.553a2cp-3f, 0x1.55386ep-5f, 0x1.1293e8p-7f, 0x1.6ff6a6p-10f},
    {0x1.bep-18f, 0x1.ffeda4p-1f, 0x1.ffed96p-1f, 0x1.ffed74p-2f, 0x1.554702p-3f, 0x1.554696p-5f, 0x1.129f3ep-7f, 0x1.6ef67cp-10f},
    {0x1.cap-17f, 0x1.ffdc18p-1f, 0x1.ffdbfap-1f, 0x1.ffdbb8p-2f, 0x1.553b06p-3f, 0x1.553a5p-5f, 0x1.129498p-7f, 0x1.6ee02p-10f},
    {0x1.7ap-18f, 0x1.fff1b8p-1f, 0x1.fff17ap-1f, 0x1.fff0f8p-2f, 0x1.5548dap-3f, 0x1.554788p-5f, 0x1.129edcp-7f, 0x1.6edccap-10f},
    {0x1.d8p-17f, 0x1.ffde5p-1f, 0x1.ffddd2p-1f, 0x1.ffdcdp-2f, 0x1.553ac8p-3f, 0x1.553836p-5f, 0x1.128c74p-7f, 0x1.6eb002p-10f},
    {0x1.a4p-19f, 0x1.fff806p-1f, 0x1.fff708p-1f, 0x1.fff506p-2f, 0x1.554992p-3f, 0x1.55444p-5f, 0x1.1293ap-7f, 0x1.6ebdf4p-10f},
    {0x1.c5p-17f, 0x1.ffe1bp-1f, 0x1.ffdfb2p-1f, 0x1.ffdbbp-2f, 0x1.553624p-3f, 0x1.552bf6p-5f, 0x1.1268cap-7f, 0x1.6e1002p-10f},
    {-0x1.ecp-19f, 0x1.00019ap+0f, 0x1.ffff34p-1f, 0x1.fff73p-2f, 0x1.554408p-3f, 0x1.553302p-5f, 0x1.11f8cep-7f, 0x1.69705ap-10f},
    {0x1.28p-17f, 0x1.ffe7dp-1f, 0x1.ffdfd2p-1f, 0x1.ffcfdp-2f, 0x1.551e9ep-3f, 0x1.54f71cp-5f, 0x1.11d772p-7f, 0x1.6a01b6p-10f},
    {0x1.78p-19f, 0x1.ffeb3ap-1f, 0x1.ffdb3cp-1f, 0x1.ffbb3ap-2f, 0x1.54fbcap-3f, 0x1.54aaf8p-5f, 0x1.1140dcp-7f, 0x1.67a5b4p-10f},
    {0x1.fp-19f, 0x1.ffda32p-1f, 0x1.ffba38p-1f, 0x1.ff7a42p-2f, 0x1.54a5a4p-3f, 0x1.53fda8p-5f, 0x1.1043a4p-7f, 0x1.668304p-10f},
    {-0x1.bp-21f, 0x1.ffc13p-1f, 0x1.ff814p-1f, 0x1.ff016cp-2f, 0x1.54007cp-3f, 0x1.52afe4p-5f, 0x1.0df3ecp-7f, 0x1.5f4a54p-10f},
    {0x1.1p-20f, 0x1.ff7eccp-1f, 0x1.feff0ep-1f, 0x1.fdffcep-2f, 0x1.52aaaep-3f, 0x1.500476p-5f, 0x1.09e4f4p-7f, 0x1.57b8c6p-10f},
    {-0x1.4p-23f, 0x1.ff00acp-1f, 0x1.fe01acp-1f, 0x1.fc04a6p-2f, 0x1.500812p-3f, 0x1.4ac6acp-5f, 0x1.014b92p-7f, 0x1.3f5ffap-10f},
    {0x1p-22f, 0x1.fe01bep-1f, 0x1.fc05bap-1f, 0x1.f811a4p-2f, 0x1.4accfep-3f, 0x1.4067c2p-5f, 0x1.e1c164p-8f, 0x1.177c46p-10f},
    {-0x1.1p-20f, 0x1.fc08dap-1f, 0x1.f818a6p-1f, 0x1.f047e2p-2f, 0x1.408e48p-3f, 0x1.2c521ap-5f, 0x1.a158a4p-8f, 0x1.871b4ap-11f},
    {0x1.8p-21f, 0x1.f81ef6p-1f, 0x1.f05d82p-1f, 0x1.e117b2p-2f, 0x1.2cd624p-3f, 0x1.066d78p-5f, 0x1.2e29e8p-8f, 0x1.d22456p-13f},
    {0x1.5p-21f, 0x1.f07bbcp-1f, 0x1.e1703cp-1f, 0x1.c442bp-2f, 0x1.086092p-3f, 0x1.865c76p-6f, 0x1.ba88a4p-10f, -0x1.22f5ccp-11f},
    {-0x1p-22f, 0x1.e1e1fep-1f, 0x1.c58964p-1f, 0x1.902dfp-2f, 0x1.93db36p-4f, 0x1.6625bep-7f, -0x1.23aeecp-9f, -0x1.59f09p-10f},
    {-0x1p-25f, 0x1.c71c74p-1f, 0x1.948b12p-1f, 0x1.3aa50ep-2f, 0x1.b77faap-5f, -0x1.36d6bp-8f, -0x1.5584f8p-8f, -0x1.373574p-10f},
    {0x1.2p-22f, 0x1.99998ep-1f, 0x1.47ae1p-1f, 0x1.893746p-3f, 0x1.174c5ap-8f, -0x1.e251c2p-7f, -0x1.f1eb78p-9f, 0x1.5c168ap-12f},
    {0x1.824p-14f, 0x1.554ff8p-1f, 0x1.c718dep-2f, 0x1.2f6f62p-4f, -0x1.947c84p-6f, -0x1.510e2ep-7f, 0x1.fbfdecp-11f, 0x1.1e5f9p-10f},
}});

// clang-format on

}  // namespace
}  // namespace nnkernels
