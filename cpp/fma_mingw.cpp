// fma and fmaf with one rounding, as `generic` needs. MinGW's own versions round twice: to 80 bits,
// then to the result's type. CMakeLists.txt makes the linker choose these.
#include <cmath>
#include <cstdint>

namespace {

__extension__ using Wide = unsigned __int128;

// A finite number, not 0: mantissa * 2^exponent, with a mantissa of 53 bits.
struct Parts {
  explicit Parts(double x) : negative(std::signbit(x)) {
    mantissa = static_cast<std::uint64_t>(std::ldexp(std::frexp(std::abs(x), &exponent), 53));
    exponent -= 53;
  }

  bool negative;
  std::uint64_t mantissa;
  int exponent;
};

// Shifts right. If a nonzero bit is lost, sets the last bit of the result (a sticky bit).
Wide shift_right(Wide x, int count) {
  if (count > 127) return 1;
  return x >> count | ((x >> count) << count != x);
}

// xy + z, rounded once to `digits` bits and to a multiple of 2^least: to nearest, ties to even.
double rounded_once(double x, double y, double z, int digits, int least) {
  if (x == 0 || y == 0 || !std::isfinite(x) || !std::isfinite(y)) return x * y + z;
  if (!std::isfinite(z)) return z + z;
  const Parts a(x), b(y);
  constexpr int kSpare = 20;
  Wide product = Wide{a.mantissa} * b.mantissa << kSpare;  // 105 or 106 bits, plus kSpare
  int exponent = a.exponent + b.exponent - kSpare;
  const bool negative = a.negative != b.negative;

  // Both terms in units of 2^exponent. The smaller one loses bits only if the last 20 bits of the
  // larger one are 0.
  Wide sum = product;
  bool sum_negative = negative;
  if (z != 0) {
    const Parts c(z);
    constexpr int kMostShift = 70;
    const int shift = c.exponent - exponent;
    if (shift > kMostShift) product = shift_right(product, shift - kMostShift), exponent = c.exponent - kMostShift;
    const Wide added =
        shift < 0 ? shift_right(c.mantissa, -shift) : Wide{c.mantissa} << (shift < kMostShift ? shift : kMostShift);
    if (negative == c.negative) {
      sum = product + added;
    } else if (product >= added) {
      sum = product - added;
    } else {
      sum = added - product, sum_negative = c.negative;
    }
    if (sum == 0) return 0;
  }

  int bits = 0;
  for (Wide rest = sum; rest != 0; rest >>= 1) ++bits;
  int unit = exponent + bits - digits;
  if (unit < least) unit = least;
  // Keeps two more bits for rounding: the half and the sticky bit.
  const int surplus = unit - exponent - 2;
  sum = surplus >= 0 ? shift_right(sum, surplus) : sum << -surplus;
  auto kept = static_cast<std::uint64_t>(sum >> 2);
  const auto below = static_cast<unsigned>(sum & 3);
  if (below == 3 || (below == 2 && kept % 2 == 1)) ++kept;
  const double result = std::ldexp(static_cast<double>(kept), unit);
  return sum_negative ? -result : result;
}

}  // namespace

extern "C" double fma(double x, double y, double z) { return rounded_once(x, y, z, 53, -1074); }
extern "C" float fmaf(float x, float y, float z) {
  return static_cast<float>(rounded_once(double{x}, double{y}, double{z}, 24, -149));
}
