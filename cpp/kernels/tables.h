// The tables that kernels look lanes up in, printed by cpp/fit_coefficients.py: powers of 2 for the exponential, and piecewise
// polynomials for tanh in float.
#pragma once

#include <cstddef>

namespace nnkernels {
namespace {

// Polynomials, a row each: 32 rows, for targets that load the row of each lane, and the same by columns, for those that look a
// column up in registers.
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

// 2^(j/16), j = 0, ..., 15, each the sum of two parts: a row each, and a column of each part.
template <class C>
struct PowerTable {
  static constexpr std::size_t kSteps = 16;
  alignas(64) C rows[kSteps][2];
  alignas(64) C columns[2][kSteps] = {};
};

template <class C>
constexpr PowerTable<C> with_columns(PowerTable<C> table) {
  for (std::size_t j = 0; j < PowerTable<C>::kSteps; ++j) {
    for (std::size_t part = 0; part < 2; ++part) table.columns[part][j] = table.rows[j][part];
  }
  return table;
}

// 2^(-j/16), from the table of 2^(j/16).
template <class C>
constexpr PowerTable<C> inverse(const PowerTable<C>& table) {
  PowerTable<C> result = table;
  for (std::size_t j = 1; j < PowerTable<C>::kSteps; ++j) {
    for (std::size_t part = 0; part < 2; ++part) result.rows[j][part] = table.rows[PowerTable<C>::kSteps - j][part] / 2;
  }
  return with_columns(result);
}

// The table times a power of two.
template <class C>
constexpr PowerTable<C> times(C power, PowerTable<C> table) {
  for (auto& row : table.rows) {
    for (C& part : row) part *= power;
  }
  return with_columns(table);
}

// clang-format off

// tanh(x) = c0 + c1 t + ... + c5 t^5 with t = x - centre. Row: a float's bits 21 to 25, which are two of the fraction and the
// exponent's lowest three. The centre is where tanh is all but a float (S. Gal, "Computing elementary functions", 1986), so that the
// leading coefficient costs no accuracy. Error, relative: below 2^-26. One row serves all x < 2^-3: tanh(x) = x + c1 x + ... + c5 x^5.
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

template <class C>
constexpr PowerTable<C> kPowers;

template <>
inline constexpr PowerTable<float> kPowers<float> = with_columns(PowerTable<float>{{
    {0x1p+0f, 0}, {0x1.0b5586p+0f, 0x1.9f3122p-25f}, {0x1.172b84p+0f, -0x1.c15742p-27f},
    {0x1.2387a6p+0f, 0x1.ceac48p-25f}, {0x1.306fep+0f, 0x1.4636e2p-25f}, {0x1.3dea64p+0f, 0x1.824684p-25f},
    {0x1.4bfdaep+0f, -0x1.593abcp-25f}, {0x1.5ab07ep+0f, -0x1.5bd5ecp-27f}, {0x1.6a09e6p+0f, 0x1.9fcef4p-26f},
    {0x1.7a1148p+0f, -0x1.829fdp-25f}, {0x1.8ace54p+0f, 0x1.15506ep-27f}, {0x1.9c4918p+0f, 0x1.51f848p-27f},
    {0x1.ae89fap+0f, -0x1.a94b14p-26f}, {0x1.c199bep+0f, -0x1.3d56b2p-27f}, {0x1.d5818ep+0f, -0x1.822dbcp-27f},
    {0x1.ea4afap+0f, 0x1.52486cp-27f},
}});

template <>
inline constexpr PowerTable<double> kPowers<double> = with_columns(PowerTable<double>{{
    {0x1p+0, 0}, {0x1.0b5586cf9890fp+0, 0x1.8a62e4adc610bp-54},
    {0x1.172b83c7d517bp+0, -0x1.19041b9d78a76p-55}, {0x1.2387a6e756238p+0, 0x1.9b07eb6c70573p-54},
    {0x1.306fe0a31b715p+0, 0x1.6f46ad23182e4p-55}, {0x1.3dea64c123422p+0, 0x1.ada0911f09ebcp-55},
    {0x1.4bfdad5362a27p+0, 0x1.d4397afec42e2p-56}, {0x1.5ab07dd485429p+0, 0x1.6324c054647adp-54},
    {0x1.6a09e667f3bcdp+0, -0x1.bdd3413b26456p-54}, {0x1.7a11473eb0187p+0, -0x1.41577ee04992fp-55},
    {0x1.8ace5422aa0dbp+0, 0x1.6e9f156864b27p-54}, {0x1.9c49182a3f09p+0, 0x1.c7c46b071f2bep-56},
    {0x1.ae89f995ad3adp+0, 0x1.7a1cd345dcc81p-54}, {0x1.c199bdd85529cp+0, 0x1.11065895048ddp-55},
    {0x1.d5818dcfba487p+0, 0x1.2ed02d75b3707p-55}, {0x1.ea4afa2a490dap+0, -0x1.e9c23179c2893p-54},
}});

// clang-format on

template <class C>
constexpr PowerTable<C> kNegativePowers = inverse(kPowers<C>);

}  // namespace
}  // namespace nnkernels
