// Lookup tables of the kernels, printed by cpp/fit_coefficients.py: powers of 2 for the
// exponential, piecewise polynomials for sigmoid, tanh, softplus and gelu in float, and nodes for
// tanh in double.
#pragma once

#include <cstddef>

namespace nnkernels {
namespace {

// Polynomials, one per row, for targets that load each lane's row; and the same by columns, for
// targets that look up a column in a register.
struct FloatTable {
  static constexpr std::size_t kRows = 16;
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

// 2^(j/16), j = 0, ..., 15, each as the sum of two parts: by rows, and by columns of each part.
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

// 2^(-j/16), made from the table of 2^(j/16).
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

// sigmoid(-y) = c0 + c1 t + ... + c6 t^6 with t = y - centre. Row: the integer nearest to 1.5625 y.
// At the centre, sigmoid(-y) and 1 - sigmoid(-y) are very close to floats (S. Gal, "Computing
// elementary functions", 1986), so that the leading coefficient costs no accuracy. Relative error
// below 2^-28.
//   centre, c0, c1, ..., c6
constexpr FloatTable kSigmoidTable = with_columns({{
    {0, 0x1p-1f, -0x1p-2f, 0x1.73457ap-25f, 0x1.554f9cp-6f, 0x1.06a662p-16f, -0x1.1c0b54p-9f, 0x1.bef4c8p-13f},
    {0x1.47c8f6p-1f, 0x1.617c28p-2f, -0x1.ceec7ep-3f, 0x1.1ea45ep-5f, 0x1.b7bcbcp-7f, -0x1.47340ep-8f, -0x1.59461ep-11f, 0x1.23a11cp-11f},
    {0x1.502c08p+0f, 0x1.b21648p-3f, -0x1.561458p-3f, 0x1.8a229ep-5f, 0x1.0314c4p-14f, -0x1.0806c2p-8f, 0x1.da4a24p-11f, 0x1.474b3ep-13f},
    {0x1.04c1dcp+1f, 0x1.d87f2p-4f, -0x1.a1fddp-4f, 0x1.418e62p-5f, -0x1.b02872p-8f, -0x1.8167e8p-11f, 0x1.6aa1ep-11f, -0x1.25266cp-13f},
    {0x1.4a937cp+1f, 0x1.1fce3p-4f, -0x1.0b953p-4f, 0x1.cbf56cp-6f, -0x1.b1e05p-8f, 0x1.09178ep-11f, 0x1.032762p-12f, -0x1.c9a2d6p-14f},
    {0x1.a3d3ecp+1f, 0x1.29198p-5f, -0x1.1e531ep-5f, 0x1.098e66p-6f, -0x1.2db586p-8f, 0x1.9b5ed6p-11f, -0x1.cdabccp-16f, -0x1.236928p-15f},
    {0x1.f763ep+1f, 0x1.3acbcp-6f, -0x1.34bf5ep-6f, 0x1.28e214p-7f, -0x1.6d1e52p-9f, 0x1.3269a8p-11f, -0x1.39cb1p-14f, -0x1.0de3c2p-19f},
    {0x1.1f98bap+2f, 0x1.6a457ep-7f, -0x1.66442cp-7f, 0x1.5e5836p-8f, -0x1.be5b32p-10f, 0x1.95d83ap-12f, -0x1.058a08p-14f, 0x1.7cf6eap-18f},
    {0x1.4868bep+2f, 0x1.80ef04p-8f, -0x1.7eac36p-8f, 0x1.7a2d66p-9f, -0x1.ec5a94p-11f, 0x1.d4e8dp-13f, -0x1.52c6bep-15f, 0x1.63393ap-18f},
    {0x1.73e5ep+2f, 0x1.875a02p-9f, -0x1.862eep-9f, 0x1.83da6ap-10f, -0x1.fef354p-12f, 0x1.f29ca2p-14f, -0x1.7c392ap-16f, 0x1.d75f84p-19f},
    {0x1.9cc0fep+2f, 0x1.9df7e6p-10f, -0x1.9d508cp-10f, 0x1.9c0262p-11f, -0x1.10ef4p-12f, 0x1.0d731ap-14f, -0x1.a56474p-17f, 0x1.1270d8p-19f},
    {0x1.cb95b6p+2f, 0x1.8ea036p-11f, -0x1.8e529ep-11f, 0x1.8db792p-12f, -0x1.085808p-13f, 0x1.06ad9ep-15f, -0x1.9c39eep-18f, 0x1.39da2p-20f},
    {0x1.ecd4dep+2f, 0x1.da6012p-12f, -0x1.da2922p-12f, 0x1.d9bb5p-13f, -0x1.3b3f22p-14f, 0x1.3a178p-16f, -0x1.f4d934p-19f, 0x1.4ce5dep-21f},
    {0x1.0b5496p+3f, 0x1.eda07cp-13f, -0x1.ed82bep-13f, 0x1.ed474ap-14f, -0x1.488a1cp-15f, 0x1.47e40cp-17f, -0x1.065dbp-19f, 0x1.639dfp-22f},
    {0x1.1eaf92p+3f, 0x1.0d9fep-13f, -0x1.0d97p-13f, 0x1.0d854p-14f, -0x1.672cb4p-16f, 0x1.66d14cp-18f, -0x1.1f5a76p-20f, 0x1.7a1de4p-23f},
    {0x1.33cd84p+3f, 0x1.16c158p-14f, -0x1.16bc9ap-14f, 0x1.16b31ep-15f, -0x1.737f7ap-17f, 0x1.734ab8p-19f, -0x1.29d62cp-21f, 0x1.8fd49cp-24f},
}});

// tanh(y) = c0 + c1 t + ... + c6 t^6 with t = y - centre, where tanh is very close to a float. Row:
// bits 21 to 24 of the float 1 + y, which are the exponent's lowest two and two of the fraction.
// Relative error below 2^-27. In the row of y < 1/4, tanh(y) = y + c1 y + ... + c6 y^6. The last
// row is 1, to which tanh rounds.
//   centre, c0, c1, ..., c6
constexpr FloatTable kTanhTable = with_columns({{
    {0x1.39ad9ap+0f, 0x1.aeb35cp-1f, 0x1.2b60f4p-2f, -0x1.f7af0ep-3f, 0x1.c04854p-4f, -0x1.486b48p-7f, -0x1.6721cp-6f, 0x1.f025d6p-7f},
    {0x1.c003cp+0f, 0x1.e1fcd4p-1f, 0x1.d21fbap-4f, -0x1.b6ccf2p-4f, 0x1.01bb1ap-4f, -0x1.816b32p-6f, 0x1.c8edf2p-9f, 0x1.13ce06p-9f},
    {0x1.21a87ap+1f, 0x1.f508b6p-1f, 0x1.5b273ap-5f, -0x1.53b7bcp-5f, 0x1.b173cp-6f, -0x1.8b6d4cp-7f, 0x1.01068cp-8f, -0x1.770414p-11f},
    {0x1.5b2744p+1f, 0x1.fb8178p-1f, 0x1.1e5ed4p-6f, -0x1.1bdb3ep-6f, 0x1.73cfc2p-7f, -0x1.66bbb4p-8f, 0x1.0b1e74p-9f, -0x1.1edf9p-11f},
    {0x1.c01e8p+1f, 0x1.ff119ep-1f, 0x1.dc575p-9f, -0x1.db78fap-9f, 0x1.3b87d4p-9f, -0x1.394648p-10f, 0x1.009586p-11f, -0x1.4ab678p-13f},
    {0x1.2cbf9cp+2f, 0x1.ffea48p-1f, 0x1.5b7598p-12f, -0x1.5b6f22p-12f, 0x1.cff01ap-13f, -0x1.cb51c6p-14f, 0x1.5a0fe2p-15f, -0x1.7ba8d4p-16f},
    {0x1.5b3474p+2f, 0x1.fffaeap-1f, 0x1.457efcp-14f, -0x1.4571cap-14f, 0x1.b1ae96p-15f, -0x1.b3d73cp-16f, 0x1.65b98cp-17f, -0x1.9d9c0ap-19f},
    {0x1.933d94p+2f, 0x1.ffff1ep-1f, 0x1.c4022ap-17f, -0x1.c44a4ap-17f, 0x1.2db81cp-17f, -0x1.299e26p-18f, 0x1.b4761ap-20f, -0x1.8aafbep-22f},
    {0x1.f70a3ap+2f, 0x1.fffff6p-1f, 0x1.3fbe54p-21f, -0x1.3de8c2p-21f, 0x1.a80dfep-22f, -0x1.bf4f7cp-23f, 0x1.79dd8cp-24f, -0x1.5cb708p-26f},
    {0x1.2p+3f, 0x1p+0f, 0, 0, 0, 0, 0, 0},
    {0, 0, 0, 0, 0, 0, 0, 0},
    {0, 0, 0, 0, 0, 0, 0, 0},
    {0, 0, 0x1.6b8bb2p-28f, -0x1.9f898ap-20f, -0x1.554214p-2f, -0x1.4f507cp-10f, 0x1.25d284p-3f, -0x1.33803ep-5f},
    {0x1.4cd24cp-2f, 0x1.4193a8p-2f, 0x1.cd818cp-1f, -0x1.21dccep-2f, -0x1.b14864p-3f, 0x1.49467ep-3f, 0x1.4673aep-5f, -0x1.1d674ap-4f},
    {0x1.2cd04cp-1f, 0x1.0e6504p-1f, 0x1.713362p-1f, -0x1.85f5d4p-2f, -0x1.4185ap-5f, 0x1.2e4576p-3f, -0x1.8f49d2p-5f, -0x1.9e18f6p-6f},
    {0x1.afd1ep-1f, 0x1.600dbap-1f, 0x1.0ded2p-1f, -0x1.733482p-2f, 0x1.2d2986p-4f, 0x1.1fc372p-4f, -0x1.f34f5cp-5f, 0x1.9766f4p-7f},
}});

// log(1 + e^-y) = c0 + c1 t + ... + c6 t^6 with t = y - centre, where it is very close to a float.
// Rows as for sigmoid. Relative error below 2^-27.
//   centre, c0, c1, ..., c6
constexpr FloatTable kSoftplusTable = with_columns({{
    {0, 0x1.62e43p-1f, -0x1.00000cp-1f, 0x1.00066cp-3f, -0x1.4a0f3ap-13f, -0x1.18c986p-8f, -0x1.497012p-9f, 0x1.7e6ad8p-9f},
    {0x1.605bc6p-1f, 0x1.a0e33cp-2f, -0x1.5675c2p-2f, 0x1.c7dc1ep-4f, -0x1.9281fcp-7f, -0x1.980bf6p-9f, 0x1.0966aap-10f, 0x1.949704p-14f},
    {0x1.687a5ep+0f, 0x1.c02316p-3f, -0x1.927ef2p-3f, 0x1.436494p-4f, -0x1.05b69cp-6f, 0x1.69f3b6p-12f, 0x1.7ae0a2p-11f, -0x1.2652dp-13f},
    {0x1.efcb22p+0f, 0x1.13d762p-3f, -0x1.02125cp-3f, 0x1.c31a76p-5f, -0x1.c1e402p-7f, 0x1.98127cp-10f, 0x1.d59df4p-13f, -0x1.122302p-13f},
    {0x1.4db3fcp+1f, 0x1.23771ap-4f, -0x1.195638p-4f, 0x1.06034ep-5f, -0x1.2d5c0ap-7f, 0x1.aea54p-10f, -0x1.bac1b2p-14f, -0x1.6981d6p-15f},
    {0x1.a5e60cp+1f, 0x1.29da0cp-5f, -0x1.248084p-5f, 0x1.1a0ed6p-6f, -0x1.5d376ep-8f, 0x1.2a7122p-10f, -0x1.496392p-13f, 0x1.53b9bcp-20f},
    {0x1.f7a6eep+1f, 0x1.3d3742p-6f, -0x1.3a2a2ap-6f, 0x1.3423fap-7f, -0x1.8b1a82p-9f, 0x1.6c7d24p-11f, -0x1.e709c2p-14f, 0x1.bf6c16p-17f},
    {0x1.1eb7f6p+2f, 0x1.714aeap-7f, -0x1.6f383p-7f, 0x1.6b1aacp-8f, -0x1.d9493cp-10f, 0x1.c3f348p-12f, -0x1.48daf2p-14f, 0x1.5fc51ep-17f},
    {0x1.48afap+2f, 0x1.806824p-8f, -0x1.7f4818p-8f, 0x1.7d0a4p-9f, -0x1.f61bcap-11f, 0x1.ea5182p-13f, -0x1.769fe2p-15f, 0x1.c59286p-18f},
    {0x1.73b75p+2f, 0x1.890dp-9f, -0x1.887648p-9f, 0x1.874976p-10f, -0x1.034baap-11f, 0x1.0028c6p-13f, -0x1.90d1ap-16f, 0x1.07a6bp-18f},
    {0x1.9fc158p+2f, 0x1.8b5454p-10f, -0x1.8b080ep-10f, 0x1.8a6fb2p-11f, -0x1.062a6ap-12f, 0x1.0486bcp-14f, -0x1.9bea5cp-17f, 0x1.23b636p-19f},
    {0x1.cabaep+2f, 0x1.94233p-11f, -0x1.93fb52p-11f, 0x1.93aba4p-12f, -0x1.0cb3cap-13f, 0x1.0bd314p-15f, -0x1.a83264p-18f, 0x1.3d1bf6p-20f},
    {0x1.ea7704p+2f, 0x1.ec5a36p-12f, -0x1.ec3cap-12f, 0x1.ec0172p-13f, -0x1.47b19ap-14f, 0x1.471c0cp-16f, -0x1.0595a2p-18f, 0x1.51c606p-21f},
    {0x1.0a3f86p+3f, 0x1.feaa5cp-13f, -0x1.fe9a72p-13f, 0x1.fe7a9cp-14f, -0x1.54269cp-15f, 0x1.53d4ccp-17f, -0x1.105f12p-19f, 0x1.6703b4p-22f},
    {0x1.1e34dep+3f, 0x1.11b5f6p-13f, -0x1.11b164p-13f, 0x1.11a83ep-14f, -0x1.6cc6dcp-16f, 0x1.6c996cp-18f, -0x1.249c46p-20f, 0x1.81346cp-23f},
    {0x1.34b41ep+3f, 0x1.0f06eep-14f, -0x1.0f04bp-14f, 0x1.0f0038p-15f, -0x1.694964p-17f, 0x1.692532p-19f, -0x1.21924ep-21f, 0x1.91da38p-24f},
}});

// 2 y e^(y^2/2) Phi(-y) = c0 + c1 t + ... + c6 t^6 with t = y - centre, where it is very close to a
// float. Rows as for tanh; in the row of y < 1/4 it is y + c1 y + ... + c6 y^6. Relative error
// below 2^-27.
//   centre, c0, c1, ..., c6
constexpr FloatTable kGeluTable = with_columns({{
    {0x1.3cb7acp+0f, 0x1.2625dap-1f, 0x1.810cacp-3f, -0x1.b693d6p-4f, 0x1.9858a6p-5f, -0x1.4c3656p-6f, 0x1.ed7464p-8f, -0x1.46366p-9f},
    {0x1.c34434p+0f, 0x1.4ca40cp-1f, 0x1.b7a06p-4f, -0x1.b70fd8p-5f, 0x1.6b44c8p-6f, -0x1.092b84p-7f, 0x1.63ae44p-9f, -0x1.c21d32p-11f},
    {0x1.1e6de6p+1f, 0x1.6195f8p-1f, 0x1.18b8a6p-4f, -0x1.f57012p-6f, 0x1.76d21ap-7f, -0x1.f29c92p-9f, 0x1.31e1d4p-10f, -0x1.477fe8p-12f},
    {0x1.61958ap+1f, 0x1.7066bcp-1f, 0x1.68cb12p-5f, -0x1.1f0d76p-6f, 0x1.81ea7cp-8f, -0x1.d0a88p-10f, 0x1.02af8cp-11f, -0x1.242784p-13f},
    {0x1.bfbc6p+1f, 0x1.7d1d3p-1f, 0x1.a336c8p-6f, -0x1.1f66ccp-7f, 0x1.5060ecp-9f, -0x1.63e66ap-11f, 0x1.657bbap-13f, -0x1.4af0ecp-15f},
    {0x1.199cfap+2f, 0x1.860e32p-1f, 0x1.da4826p-7f, -0x1.14203ep-8f, 0x1.15183p-10f, -0x1.fb5c34p-13f, 0x1.b5601ep-15f, -0x1.3a086cp-17f},
    {0x1.532cc4p+2f, 0x1.8b4d3p-1f, 0x1.237b12p-7f, -0x1.25ab8ep-9f, 0x1.00bcc4p-11f, -0x1.9bb5b2p-14f, 0x1.33b50cp-16f, -0x1.68afdp-19f},
    {0x1.a31d64p+2f, 0x1.8f971cp-1f, 0x1.47d044p-8f, -0x1.14f298p-10f, 0x1.98a69ap-13f, -0x1.15bdf4p-15f, 0x1.67f04ep-18f, -0x1.dac9b6p-21f},
    {0x1.fcf00cp+2f, 0x1.925764p-1f, 0x1.7c902cp-9f, -0x1.0f2684p-11f, 0x1.52f09ep-14f, -0x1.88afbcp-17f, 0x1.bb5c0ep-20f, -0x1.c2c4fap-23f},
    {0x1.3653f6p+3f, 0x1.944e08p-1f, 0x1.af87ep-10f, -0x1.00982p-12f, 0x1.0cc2acp-15f, -0x1.060778p-18f, 0x1.e505dcp-22f, -0x1.621f1p-25f},
    {0x1.87fe9p+3f, 0x1.95d8e2p-1f, 0x1.b5cdc4p-11f, -0x1.a21402p-14f, 0x1.60ba7cp-17f, -0x1.14fd8ep-20f, 0x1.a12c8ap-24f, -0x1.63c9eep-27f},
    {0x1.bff93p+3f, 0x1.9676a8p-1f, 0x1.27f542p-11f, -0x1.f179a2p-15f, 0x1.71e202p-18f, -0x1.0120ap-21f, 0x1.56d476p-25f, -0x1.69f78ep-29f},
    {0, 0, -0x1.f41a0ap-30f, -0x1.988442p-1f, 0x1.fff962p-2f, -0x1.0fe4ecp-2f, 0x1.f1a76cp-4f, -0x1.476e3ap-5f},
    {0x1.542034p-2f, 0x1.09e2cp-2f, 0x1.34b626p-1f, -0x1.c09bb8p-2f, 0x1.030c48p-2f, -0x1.0016a8p-3f, 0x1.be2e3ep-5f, -0x1.2adf02p-6f},
    {0x1.430f14p-1f, 0x1.a05656p-2f, 0x1.9700c2p-2f, -0x1.104adap-2f, 0x1.24767ep-3f, -0x1.0ebd48p-4f, 0x1.c14e96p-6f, -0x1.64a172p-7f},
    {0x1.a66da6p-1f, 0x1.e60d68p-2f, 0x1.3c0974p-2f, -0x1.9136fcp-3f, 0x1.9b6198p-4f, -0x1.6d487ep-5f, 0x1.2606cp-6f, -0x1.b922ap-8f},
}});

// tanh at the middle of each sixteenth of the binades from 2^-5 to 2^5, in two parts. The first
// row, 0, is for all smaller numbers. The binades are complete, although tanh rounds to 1 from 19.1
// on.
//   high, low
alignas(64) constexpr double kTanhNodes[1 + 16 * 10][2] = {
    {0, 0},
    {0x1.07e89cfcb39eap-5, 0x1.657ce56682cc1p-59}, {0x1.17e419811c612p-5, 0x1.4788ce7736e76p-59},
    {0x1.27df0a3d61e1cp-5, -0x1.10925edfa82cbp-59}, {0x1.37d9673ba192ap-5, -0x1.ac6dc0482f1ap-59},
    {0x1.47d328871fcd5p-5, 0x1.d8fa92564aff4p-59}, {0x1.57cc462c57a32p-5, 0x1.371798a76c10ap-60},
    {0x1.67c4b8390aa7cp-5, -0x1.cabbc84c73c54p-61}, {0x1.77bc76bc50b72p-5, 0x1.9a6e640d3f8e8p-60},
    {0x1.87b379c6a7b57p-5, 0x1.3f0ca70e65de1p-60}, {0x1.97a9b96a0349p-5, -0x1.06b29904b4dd5p-60},
    {0x1.a79f2db9dc8e2p-5, 0x1.6af96eb9a5366p-60}, {0x1.b793cecb41c4bp-5, 0x1.37dc3dee681a3p-59},
    {0x1.c78794b4e5f6cp-5, -0x1.f6c1f1bf73aafp-59}, {0x1.d77a778f30983p-5, -0x1.e5fddb66f50b3p-59},
    {0x1.e76c6f744d1f9p-5, -0x1.bfc2cf56a136fp-60}, {0x1.f75d74803a971p-5, 0x1.3524377b665c2p-59},
    {0x1.07a291be6696cp-4, -0x1.0304db871b89bp-65}, {0x1.17908dfe6aab8p-4, 0x1.95d41665761fcp-59},
    {0x1.277c5db990809p-4, -0x1.5e220cc296678p-60}, {0x1.3765e190d5afcp-4, 0x1.8a3bb7eaa3f6cp-60},
    {0x1.474cfa3772143p-4, 0x1.f21c18867c3bfp-60}, {0x1.57318873cbf33p-4, -0x1.ae30997960c4dp-59},
    {0x1.67136d206ae3p-4, -0x1.8fe3b2defde14p-58}, {0x1.76f2892ce95fep-4, 0x1.692c615462ddcp-60},
    {0x1.86cebd9ee5001p-4, 0x1.9d471f8439a04p-60}, {0x1.96a7eb92ed373p-4, -0x1.fd3a0e1020d1ap-60},
    {0x1.a67df43d709a8p-4, -0x1.25a9390be94ffp-58}, {0x1.b650b8eba896cp-4, 0x1.cdc7ea8505c5cp-59},
    {0x1.c6201b0483894p-4, -0x1.675a5ab6a956cp-58}, {0x1.d5ebfc098d2cep-4, -0x1.603c81d0d8bd1p-58},
    {0x1.e5b43d97d54dep-4, 0x1.750e55ad03b3p-61}, {0x1.f578c168d4b54p-4, -0x1.f6739cc9afddcp-59},
    {0x1.068c20b6ba2adp-3, 0x1.1ce70f5f682p-57}, {0x1.1644b3188c2dcp-3, -0x1.08efeb6c9be3cp-57},
    {0x1.25f4bc8402985p-3, -0x1.bf4f8c00b2dap-58}, {0x1.359bc6d38dd2ep-3, -0x1.a4a838b6403e1p-57},
    {0x1.45395cf8933c6p-3, -0x1.59ddd1ea9800cp-58}, {0x1.54cd0b089533ap-3, -0x1.2f3439b0c87cfp-59},
    {0x1.64565e4a112bp-3, -0x1.2f8498b5ba85cp-58}, {0x1.73d4e54110e95p-3, -0x1.fc18164848a8fp-58},
    {0x1.83482fbb6c3adp-3, -0x1.e2875c8d98588p-59}, {0x1.92afcedcb8772p-3, -0x1.c38f3de863ebdp-57},
    {0x1.a20b5529e363p-3, 0x1.8d72409480865p-57}, {0x1.b15a569477193p-3, -0x1.5feec3ae8e984p-58},
    {0x1.c09c688584c74p-3, -0x1.345edd6d49211p-57}, {0x1.cfd121e83433p-3, 0x1.a0f60a6696fd5p-58},
    {0x1.def81b33f61f2p-3, 0x1.7e7bc4811a6a4p-62}, {0x1.ee10ee7657cc7p-3, -0x1.cd6c15482b4b4p-57},
    {0x1.024d6483719acp-2, 0x1.3269f68970d98p-57}, {0x1.1139667b93944p-2, 0x1.e8883072a2179p-58},
    {0x1.2005b0e9757cp-2, 0x1.395f3beda0cd3p-56}, {0x1.2eb0d5041755cp-2, 0x1.5006e07e8b223p-57},
    {0x1.3d39729c7841dp-2, -0x1.c979e949173efp-58}, {0x1.4b9e3881fffc7p-2, 0x1.f7d3949e640e8p-56},
    {0x1.59dde4d9de193p-2, 0x1.88acdd4e322d8p-56}, {0x1.67f745695ed14p-2, 0x1.352949665744p-56},
    {0x1.75e937d346b38p-2, -0x1.85f912553becap-56}, {0x1.83b2a9c8573e6p-2, -0x1.566fbb33b2805p-56},
    {0x1.9152992b2e51cp-2, 0x1.561292552a603p-57}, {0x1.9ec81427c159ep-2, 0x1.443f094ce8755p-56},
    {0x1.ac12393ec304ep-2, -0x1.14e7f323518a6p-56}, {0x1.b93037454f2ccp-2, 0x1.c894ec397f42dp-61},
    {0x1.c6214d5944548p-2, -0x1.f497b150faa8fp-58}, {0x1.d2e4cacabc9adp-2, 0x1.a4dd6ad9af90ep-56},
    {0x1.e5b32dc3c1d4fp-2, -0x1.a634608a8e596p-56}, {0x1.fe216fd16fb12p-2, -0x1.036a3a955aa7ep-56},
    {0x1.0ae80133b8541p-1, 0x1.61481220cb727p-56}, {0x1.165e245365733p-1, 0x1.94627b422684p-55},
    {0x1.217245dba2f99p-1, -0x1.eb4d8aa30842bp-55}, {0x1.2c23f76a651a5p-1, -0x1.60b29de449143p-55},
    {0x1.367331116da01p-1, 0x1.6b1b2bf45b829p-58}, {0x1.40604a4866019p-1, -0x1.4d03a0919d28ep-56},
    {0x1.49ebf28adfb2p-1, -0x1.03884bc1e3d8p-57}, {0x1.531729c3659d8p-1, 0x1.3a2d6d778eb42p-55},
    {0x1.5be338a1f8694p-1, 0x1.504145ba2f24ep-56}, {0x1.6451a8f92e46bp-1, 0x1.a3129a46f1526p-55},
    {0x1.6c643e39dfb64p-1, 0x1.4c84a9faebdafp-55}, {0x1.741cee21e9a6cp-1, 0x1.792e9a371f387p-55},
    {0x1.7b7dd9af34108p-1, -0x1.ea21391d6eb7dp-57}, {0x1.82894664ef419p-1, -0x1.76a25c71d7fbp-55},
    {0x1.8c7f5c6b80f6ap-1, -0x1.71b370ec91b18p-55}, {0x1.98b3463a09192p-1, 0x1.560b0c0e4bbe7p-55},
    {0x1.a3bea98556b96p-1, -0x1.9b8cfcaf0a87ep-55}, {0x1.adb6c58dad58p-1, -0x1.1020452864c6ep-56},
    {0x1.b6b0cbeed122bp-1, -0x1.e9c077a0ec757p-55}, {0x1.bec17f1db121ep-1, 0x1.d0ae2c53984f1p-55},
    {0x1.c5fce81840af9p-1, -0x1.28dd9110ad39cp-55}, {0x1.cc76206c07027p-1, 0x1.20c589ef7aa8p-56},
    {0x1.d23f2d8db047cp-1, 0x1.365bdeafadee5p-55}, {0x1.d768ea89a3c41p-1, 0x1.efc95fc1af182p-55},
    {0x1.dc02fd4857b49p-1, -0x1.c15a240d79e15p-55}, {0x1.e01bd4e9861a7p-1, 0x1.77432b96951eep-55},
    {0x1.e3c0af0bf0a5bp-1, -0x1.e1f559105b979p-55}, {0x1.e6fda22bcd27bp-1, -0x1.5fb02a87993bap-56},
    {0x1.e9ddab92c4e2bp-1, 0x1.11ff3adc2e0dbp-59}, {0x1.ec6abf9e59874p-1, 0x1.e100690ce0504p-56},
    {0x1.efb63c1f33998p-1, 0x1.e8dea2fb37f6cp-55}, {0x1.f3451e0899e21p-1, -0x1.cbd4020dcffcp-58},
    {0x1.f60efb2c12849p-1, -0x1.5642ea8c738e2p-55}, {0x1.f83dabf23e177p-1, -0x1.4c306d222d88p-56},
    {0x1.f9f272e24fe6cp-1, 0x1.8cec210c0c51p-55}, {0x1.fb47a0d8f6d24p-1, -0x1.710313687b1f4p-55},
    {0x1.fc51f569c07dbp-1, 0x1.4a5a5f589c5fbp-55}, {0x1.fd21c0f91c658p-1, 0x1.6feef8bc443bep-58},
    {0x1.fdc3d06100d2p-1, -0x1.45e6e94c94d6fp-58}, {0x1.fe422a737407ep-1, -0x1.cfe121c2daddfp-55},
    {0x1.fea4a74034d75p-1, 0x1.1c51d3941c77dp-59}, {0x1.fef16825d225bp-1, -0x1.02b291dfc7cf1p-57},
    {0x1.ff2d36b4d02d9p-1, 0x1.18397505385b6p-55}, {0x1.ff5bcf6d19244p-1, 0x1.f85df2c2597d3p-61},
    {0x1.ff801c76733afp-1, -0x1.59d4cf5cc0363p-59}, {0x1.ff9c63abbe9f4p-1, -0x1.c831e4192b103p-56},
    {0x1.ffbb87d07c5dfp-1, -0x1.a7f06755d5cb8p-58}, {0x1.ffd677867b57fp-1, 0x1.fba90a0575772p-55},
    {0x1.ffe6cead12cddp-1, -0x1.5e0615fc05792p-55}, {0x1.fff0b823ae6e6p-1, 0x1.5339fc782c835p-56},
    {0x1.fff6bb483cc79p-1, 0x1.991dd2330733dp-58}, {0x1.fffa60da976aap-1, 0x1.7a99926c36d0bp-55},
    {0x1.fffc971b3c075p-1, -0x1.032235fa0e8a5p-56}, {0x1.fffdee8f80351p-1, 0x1.bdf129e9498afp-55},
    {0x1.fffebee0b3dap-1, -0x1.ea7eec0a70d11p-55}, {0x1.ffff3d3aa8e64p-1, -0x1.c101986bbebe9p-55},
    {0x1.ffff89dd88ac1p-1, 0x1.8bacf20cacafcp-55}, {0x1.ffffb859011e1p-1, 0x1.3a747e0bc8dbp-55},
    {0x1.ffffd48a67f5p-1, 0x1.e022c957cd234p-55}, {0x1.ffffe5a3fc05bp-1, 0x1.7502766acd1b5p-55},
    {0x1.fffff0031efd4p-1, -0x1.26935a8beaae1p-55}, {0x1.fffff64d8b0f1p-1, -0x1.422220fd5eb61p-58},
    {0x1.fffffb6b5ecf3p-1, 0x1.326c479d9e8c5p-58}, {0x1.fffffe509d179p-1, -0x1.046cdac60a2b9p-56},
    {0x1.ffffff614d446p-1, 0x1.d7b1395df2e0ep-57}, {0x1.ffffffc59e429p-1, 0x1.dce0e8a2248b9p-55},
    {0x1.ffffffea85c5p-1, 0x1.865157349ea79p-57}, {0x1.fffffff819506p-1, 0x1.78d1ef92bc32ap-55},
    {0x1.fffffffd17e54p-1, -0x1.5d3444c3fbf9fp-55}, {0x1.fffffffeee426p-1, -0x1.ba9678d377e19p-56},
    {0x1.ffffffff9b4bep-1, 0x1.4888fc7dd3437p-58}, {0x1.ffffffffdaf4p-1, 0x1.77e890a5e1459p-55},
    {0x1.fffffffff25f1p-1, -0x1.7395212c5406fp-55}, {0x1.fffffffffafc8p-1, -0x1.11f58e137a343p-55},
    {0x1.fffffffffe27dp-1, 0x1.08f55fdf5747ep-56}, {0x1.ffffffffff525p-1, -0x1.205788e8e4ef4p-55},
    {0x1.ffffffffffc02p-1, -0x1.c3211959040fdp-55}, {0x1.ffffffffffe88p-1, -0x1.1431aa4fa1d1ap-56},
    {0x1.fffffffffffacp-1, 0x1.2ae0e2289cff3p-57}, {0x1.ffffffffffff5p-1, -0x1.6ee334b3e1b84p-55},
    {0x1.ffffffffffffep-1, 0x1.d9ee380d67eaep-55}, {0x1p+0, -0x1.aa0de4bf35b38p-56},
    {0x1p+0, -0x1.cd480a1b7482p-59}, {0x1p+0, -0x1.f36bd37f42f3ep-62},
    {0x1p+0, -0x1.0e5b73d1ff53dp-64}, {0x1p+0, -0x1.24b6031b49bdap-67},
    {0x1p+0, -0x1.3ce9b9de78f85p-70}, {0x1p+0, -0x1.571db733a9d61p-73},
    {0x1p+0, -0x1.737c5645114b5p-76}, {0x1p+0, -0x1.923372c67a074p-79},
    {0x1p+0, -0x1.b374b315f87c1p-82}, {0x1p+0, -0x1.d775d87da854dp-85},
    {0x1p+0, -0x1.fe7116182e9ccp-88}, {0x1p+0, -0x1.1452b7723aed2p-90},
};

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
template <class C>
constexpr PowerTable<C> kHalfPowers = times(C(0.5), kPowers<C>);

}  // namespace
}  // namespace nnkernels
