// Batch-norm of bf16 maps, channels last, optionally fused with the operations that follow it in a block, the sum with another map and
// ReLU: two passes through memory forward, and two backward.
//
// A map is [rows, channels], with one row for each position of each image. Statistics have the precision of float32: rows are summed in
// blocks that stay in the nearest cache, as are their squared deviations from the mean of the block, and blocks are combined in double
// precision (Chan, Golub and LeVeque 1979). The order of summation depends only on the number of OpenMP threads, so runs are reproducible.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <omp.h>
#include <vector>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

const int64_t BLOCK = 16384;  // numbers per block: 32 KiB
const int64_t HEIGHT = 256;   // maximum rows per block: float32 sums over many more rows would lose precision
const int64_t WIDTH = 256;    // maximum channels per block
const int64_t LANES = 16;     // channels computed at once
const int64_t AT_ONCE = 4;    // rows computed at once

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));

// Operations fused after batch-norm.
enum After { NOTHING, RELU, SUM_AND_RELU };

// Call `each(first, count)` for the range from `begin` to `end`, in steps of `step` and a shorter last one.
template <typename Each>
inline __attribute__((always_inline)) void in_steps(int64_t begin, int64_t end, int64_t step, Each each) {
  int64_t first = begin;
  for (; first + step <= end; first += step) each(first, step);
  if (first < end) each(first, end - first);
}

inline Floats read(const float* from, int64_t count) {
  Floats found = {};
  std::memcpy(&found, from, count * sizeof *from);
  return found;
}

inline Floats read(const uint16_t* from, int64_t count) {
  Halves found = {};
  std::memcpy(&found, from, count * sizeof *from);
  return reinterpret_cast<Floats>(__builtin_convertvector(found, Words) << 16);
}

inline void write(Floats value, float* to, int64_t count) { std::memcpy(to, &value, count * sizeof *to); }

// rounds to nearest, ties to even; NaN stays NaN
inline void write(Floats value, uint16_t* to, int64_t count) {
#ifdef __AVX512BF16__
  const __m256bh found = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(value));
#else
  const Words bits = reinterpret_cast<Words>(value), nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Halves found = __builtin_convertvector((bits & 0x7fffffff) > 0x7f800000 ? (bits & 0) + 0x7fc0 : nearest, Halves);
#endif
  std::memcpy(to, &found, count * sizeof *to);
}

inline Floats normalised(Floats value, Floats mean, Floats factor, Floats bias) { return (value - mean) * factor + bias; }

// `value` where `decides` is above zero or NaN, so that NaN propagates; 0 elsewhere
inline Floats rectified(Floats value, Floats decides) { return decides <= 0 ? Floats{} : value; }

// Two sums per channel and thread.
struct Sums {
  std::vector<double> first, second;
  std::vector<int64_t> rows;

  Sums(int threads, int64_t channels) : first(threads * channels, 0.0), second(threads * channels, 0.0), rows(threads, 0) {}
};

// Call `each(row, end, channel, count)` for the blocks of a map assigned to this thread: rows up to `end`, and `count` channels.
template <typename Each>
void by_blocks(int64_t rows, int64_t channels, Each each) {
  const int64_t height = std::min(HEIGHT, BLOCK / std::min(channels, WIDTH)), blocks = (rows + height - 1) / height;
  const int64_t own = omp_get_thread_num(), all = omp_get_num_threads();
  for (int64_t block = blocks * own / all; block < blocks * (own + 1) / all; block++) {
    in_steps(0, channels, WIDTH, [&](int64_t c, int64_t count) { each(block * height, std::min(rows, (block + 1) * height), c, count); });
  }
}

// Call `each(row, high, channel, count)` for the tiles of a block: AT_ONCE rows, LANES channels.
template <typename Each>
inline __attribute__((always_inline)) void by_lanes(int64_t begin, int64_t end, int64_t width, Each each) {
  in_steps(begin, end, AT_ONCE, [=](int64_t row, int64_t high) __attribute__((always_inline)) {
    in_steps(0, width, LANES, [=](int64_t c, int64_t count) __attribute__((always_inline)) { each(row, high, c, count); });
  });
}

// Merge the means and summed squared deviations of `count` further rows into those of `seen` rows.
template <typename Number>
void join(double* mean, double* squares, int64_t seen, const Number* other_mean, const Number* other_squares, int64_t count,
          int64_t channels) {
  const double part = static_cast<double>(count) / (seen + count), both = part * seen;
  for (int64_t c = 0; c < channels; c++) {
    const double apart = other_mean[c] - mean[c];
    mean[c] += apart * part;
    squares[c] += other_squares[c] + apart * apart * both;
  }
}

// Compute means and summed squared deviations: the first forward pass.
void observe(const uint16_t* x, int64_t rows, int64_t channels, Sums& sums, int threads) {
#pragma omp parallel num_threads(threads)
  {
    const int64_t own = omp_get_thread_num();
    by_blocks(rows, channels, [&](int64_t begin, int64_t end, int64_t first, int64_t width) {
      const uint16_t* from = x + first;
      float mean[WIDTH] = {}, square[WIDTH] = {};
      by_lanes(begin, end, width, [=, &mean](int64_t row, int64_t high, int64_t c, int64_t count) __attribute__((always_inline)) {
        Floats sum = read(mean + c, count);
        for (int64_t r = row; r < row + high; r++) sum += read(from + r * channels + c, count);
        write(sum, mean + c, count);
      });
      for (int64_t c = 0; c < width; c++) mean[c] /= end - begin;
      by_lanes(begin, end, width, [=, &mean, &square](int64_t row, int64_t high, int64_t c, int64_t count) __attribute__((always_inline)) {
        const Floats middle = read(mean + c, count);
        Floats sum = read(square + c, count);
        for (int64_t r = row; r < row + high; r++) {
          const Floats apart = read(from + r * channels + c, count) - middle;
          sum += apart * apart;
        }
        write(sum, square + c, count);
      });
      const int64_t place = own * channels + first;
      join(&sums.first[place], &sums.second[place], sums.rows[own], mean, square, end - begin, width);
      if (first + width == channels) sums.rows[own] += end - begin;
    });
  }
  for (int other = 1; other < threads; other++) {
    if (sums.rows[other] == 0) continue;
    join(&sums.first[0], &sums.second[0], sums.rows[0], &sums.first[other * channels], &sums.second[other * channels], sums.rows[other],
         channels);
    sums.rows[0] += sums.rows[other];
  }
}

// Write the result: the second forward pass.
template <After AFTER>
void answer(const uint16_t* x, const uint16_t* addend, uint16_t* y, int64_t rows, int64_t channels, const float* mean, const float* factor,
            const float* bias, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const int64_t place = row * channels;
    in_steps(0, channels, LANES, [=](int64_t c, int64_t count) __attribute__((always_inline)) {
      Floats value = normalised(read(x + place + c, count), read(mean + c, count), read(factor + c, count), read(bias + c, count));
      if (AFTER == SUM_AND_RELU) value += read(addend + place + c, count);
      write(AFTER == NOTHING ? value : rectified(value, value), y + place + c, count);
    });
  }
}

// Sum the gradient, and the gradient times the deviations: the first backward pass. After a sum and ReLU, the mask of ReLU is derived from
// the result `y`, and the masked gradient is stored in `through`; it is also the gradient of the other addend.
template <After AFTER>
void sum_up(const uint16_t* gradient, const uint16_t* x, const uint16_t* y, uint16_t* through, int64_t rows, int64_t channels,
            const float* mean, const float* factor, const float* bias, Sums& sums, int threads) {
#pragma omp parallel num_threads(threads)
  {
    const int64_t own = omp_get_thread_num();
    by_blocks(rows, channels, [&](int64_t begin, int64_t end, int64_t first, int64_t width) {
      float sum[WIDTH] = {}, product[WIDTH] = {};
      by_lanes(begin, end, width, [=, &sum, &product](int64_t row, int64_t high, int64_t c, int64_t count) __attribute__((always_inline)) {
        const Floats middle = read(mean + first + c, count);
        const Floats scale = AFTER == RELU ? read(factor + first + c, count) : Floats{};
        const Floats shift = AFTER == RELU ? read(bias + first + c, count) : Floats{};
        Floats plain = read(sum + c, count), weighted = read(product + c, count);
        for (int64_t r = row; r < row + high; r++) {
          const int64_t place = r * channels + first + c;
          const Floats value = read(x + place, count);
          Floats slope = read(gradient + place, count);
          if (AFTER == RELU) slope = rectified(slope, normalised(value, middle, scale, shift));
          if (AFTER == SUM_AND_RELU) {
            slope = rectified(slope, read(y + place, count));
            write(slope, through + place, count);
          }
          plain += slope;
          weighted += slope * (value - middle);
        }
        write(plain, sum + c, count);
        write(weighted, product + c, count);
      });
      for (int64_t c = 0; c < width; c++) {
        sums.first[own * channels + first + c] += sum[c];
        sums.second[own * channels + first + c] += product[c];
      }
    });
  }
}

// Write the gradient of `x`: the second backward pass. After a sum, `gradient` is the masked gradient.
template <After AFTER>
void descend(const uint16_t* gradient, const uint16_t* x, uint16_t* of_x, int64_t rows, int64_t channels, const float* mean,
             const float* factor, const float* bias, const float* average, const float* along, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const int64_t place = row * channels;
    in_steps(0, channels, LANES, [=](int64_t c, int64_t count) __attribute__((always_inline)) {
      const Floats value = read(x + place + c, count), middle = read(mean + c, count), scale = read(factor + c, count);
      Floats slope = read(gradient + place + c, count);
      if (AFTER == RELU) slope = rectified(slope, normalised(value, middle, scale, read(bias + c, count)));
      write((slope - read(average + c, count) - (value - middle) * read(along + c, count)) * scale, of_x + place + c, count);
    });
  }
}

}  // namespace

extern "C" {

// Normalise `x` into `y`, add `addend` unless it is null, and apply ReLU if requested; store the statistics in `mean` and `scale` (one over
// the standard deviation), and update the running statistics unless they are null.
void zoo_batch_norm(const uint16_t* x, const uint16_t* addend, int relu, uint16_t* y, int64_t rows, int64_t channels, const float* weight,
                    const float* bias, float* running_mean, float* running_var, double momentum, double epsilon, float* mean, float* scale,
                    int threads) {
  Sums sums(threads, channels);
  observe(x, rows, channels, sums, threads);
  std::vector<float> factor(channels);
  for (int64_t c = 0; c < channels; c++) {
    const double variance = sums.second[c] / rows;
    mean[c] = static_cast<float>(sums.first[c]);
    scale[c] = static_cast<float>(1.0 / std::sqrt(variance + epsilon));
    factor[c] = weight[c] * scale[c];
    if (running_mean != nullptr) {
      running_mean[c] = static_cast<float>((1 - momentum) * running_mean[c] + momentum * sums.first[c]);
      running_var[c] = static_cast<float>((1 - momentum) * running_var[c] + momentum * sums.second[c] / (rows - 1));
    }
  }
  const auto second = addend != nullptr ? answer<SUM_AND_RELU> : relu ? answer<RELU> : answer<NOTHING>;
  second(x, addend, y, rows, channels, mean, factor.data(), bias, threads);
}

// Compute the gradients of `weight`, of the bias, of `x` unless `of_x` is null, and of the addend in `through`. The result `y` and
// `through` are required if there was an addend; `bias` is required for ReLU without an addend.
void zoo_batch_norm_backward(const uint16_t* gradient, const uint16_t* x, const uint16_t* y, int relu, uint16_t* through, uint16_t* of_x,
                             int64_t rows, int64_t channels, const float* weight, const float* bias, const float* mean, const float* scale,
                             float* of_weight, float* of_bias, int threads) {
  Sums sums(threads, channels);
  std::vector<float> factor(channels), average(channels), along(channels);
  for (int64_t c = 0; c < channels; c++) factor[c] = weight[c] * scale[c];
  const auto first = y != nullptr ? sum_up<SUM_AND_RELU> : relu ? sum_up<RELU> : sum_up<NOTHING>;
  first(gradient, x, y, through, rows, channels, mean, factor.data(), bias, sums, threads);
  for (int64_t c = 0; c < channels; c++) {
    double plain = 0, weighted = 0;
    for (int other = 0; other < threads; other++) {
      plain += sums.first[other * channels + c];
      weighted += sums.second[other * channels + c];
    }
    of_bias[c] = static_cast<float>(plain);
    of_weight[c] = static_cast<float>(weighted * scale[c]);
    average[c] = static_cast<float>(plain / rows);
    along[c] = static_cast<float>(weighted / rows * scale[c] * scale[c]);
  }
  if (of_x == nullptr) return;
  const auto second = y == nullptr && relu ? descend<RELU> : descend<NOTHING>;
  second(y != nullptr ? through : gradient, x, of_x, rows, channels, mean, factor.data(), bias, average.data(), along.data(), threads);
}

}  // extern "C"
