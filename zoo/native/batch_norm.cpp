// Batch-norm of maps in bf16, channels last: two passes through memory forward, and two backward.
//
// A map is [rows, channels], one row for each place of each picture. Statistics are those of float32: rows are summed up in blocks that
// stay in the nearest cache, where their deviations from the block's own mean are summed up too, and blocks are put together in double
// precision (Chan, Golub and LeVeque 1979). Sums have one order for the number of threads that OpenMP gives: a run can be repeated.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <omp.h>
#include <vector>

namespace {

const int64_t BLOCK = 16384;   // numbers of a block: 32 KiB
const int64_t HEIGHT = 256;  // rows of it at most: sums in float32 of many more would lose digits

inline float widened(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float found;
  std::memcpy(&found, &bits, sizeof found);
  return found;
}

// to the nearest, to the even one of two; what is no number stays none
inline uint16_t rounded(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : nearest);
}

// Two sums for each channel, by one thread each.
struct Sums {
  std::vector<double> first, second;
  std::vector<int64_t> rows;

  Sums(int threads, int64_t channels) : first(threads * channels, 0.0), second(threads * channels, 0.0), rows(threads, 0) {}
};

inline int64_t rows_of_block(int64_t channels) { return std::min(HEIGHT, std::max<int64_t>(8, BLOCK / channels)); }

// Add what one thread has seen, the means and the squared deviations of `count` rows, to what another has.
inline void join(double* mean, double* squares, int64_t seen, const double* other_mean, const double* other_squares, int64_t count,
                 int64_t channels) {
  const double part = static_cast<double>(count) / (seen + count), both = part * seen;
  for (int64_t c = 0; c < channels; c++) {
    const double apart = other_mean[c] - mean[c];
    mean[c] += apart * part;
    squares[c] += other_squares[c] + apart * apart * both;
  }
}

}  // namespace

extern "C" {

// Normalise `x` into `y`; leave the statistics in `mean` and `scale`, one over the deviation, and follow them with the running ones, where
// there are any.
void zoo_batch_norm(const uint16_t* __restrict x, uint16_t* __restrict y, int64_t rows, int64_t channels, const float* __restrict weight,
                    const float* __restrict bias, float* __restrict running_mean, float* __restrict running_var, double momentum,
                    double epsilon, float* __restrict mean, float* __restrict scale, int threads) {
  const int64_t height = rows_of_block(channels), blocks = (rows + height - 1) / height;
  Sums sums(threads, channels);
#pragma omp parallel num_threads(threads)
  {
    const int64_t own = omp_get_thread_num(), all = omp_get_num_threads();
    double *means = &sums.first[own * channels], *squares = &sums.second[own * channels];
    std::vector<float> sum(channels), square(channels);
    std::vector<double> block_mean(channels), block_squares(channels);
    float *__restrict s = sum.data(), *__restrict q = square.data();
    for (int64_t block = blocks * own / all; block < blocks * (own + 1) / all; block++) {
      const int64_t begin = block * height, end = std::min(rows, begin + height);
      std::fill(sum.begin(), sum.end(), 0.0f);
      std::fill(square.begin(), square.end(), 0.0f);
      for (int64_t row = begin; row < end; row++) {
        const uint16_t* __restrict from = x + row * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) s[c] += widened(from[c]);
      }
      const float part = 1.0f / (end - begin);
      for (int64_t c = 0; c < channels; c++) s[c] *= part;
      for (int64_t row = begin; row < end; row++) {
        const uint16_t* __restrict from = x + row * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
          const float apart = widened(from[c]) - s[c];
          q[c] += apart * apart;
        }
      }
      std::copy(sum.begin(), sum.end(), block_mean.begin());
      std::copy(square.begin(), square.end(), block_squares.begin());
      join(means, squares, sums.rows[own], block_mean.data(), block_squares.data(), end - begin, channels);
      sums.rows[own] += end - begin;
    }
  }
  for (int other = 1; other < threads; other++) {
    if (sums.rows[other] == 0) continue;
    join(&sums.first[0], &sums.second[0], sums.rows[0], &sums.first[other * channels], &sums.second[other * channels], sums.rows[other],
         channels);
    sums.rows[0] += sums.rows[other];
  }
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
  const float* __restrict f = factor.data();
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const uint16_t* __restrict from = x + row * channels;
    uint16_t* __restrict to = y + row * channels;
#pragma omp simd
    for (int64_t c = 0; c < channels; c++) to[c] = rounded((widened(from[c]) - mean[c]) * f[c] + bias[c]);
  }
}

// Gradients of `weight`, of the bias and, where there is room for it, of `x`, from the one of `y`.
void zoo_batch_norm_backward(const uint16_t* __restrict gradient, const uint16_t* __restrict x, uint16_t* __restrict of_x, int64_t rows,
                             int64_t channels, const float* __restrict weight, const float* __restrict mean, const float* __restrict scale,
                             float* __restrict of_weight, float* __restrict of_bias, int threads) {
  const int64_t height = rows_of_block(channels), blocks = (rows + height - 1) / height;
  Sums sums(threads, channels);
#pragma omp parallel num_threads(threads)
  {
    const int64_t own = omp_get_thread_num(), all = omp_get_num_threads();
    double *plain = &sums.first[own * channels], *weighted = &sums.second[own * channels];
    std::vector<float> sum(channels), product(channels);
    float *__restrict s = sum.data(), *__restrict p = product.data();
    for (int64_t block = blocks * own / all; block < blocks * (own + 1) / all; block++) {
      std::fill(sum.begin(), sum.end(), 0.0f);
      std::fill(product.begin(), product.end(), 0.0f);
      for (int64_t row = block * height; row < std::min(rows, (block + 1) * height); row++) {
        const uint16_t *__restrict from = x + row * channels, *__restrict slope = gradient + row * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
          const float value = widened(slope[c]);
          s[c] += value;
          p[c] += value * (widened(from[c]) - mean[c]);
        }
      }
      for (int64_t c = 0; c < channels; c++) {
        plain[c] += s[c];
        weighted[c] += p[c];
      }
    }
  }
  std::vector<float> factor(channels), average(channels), along(channels);
  for (int64_t c = 0; c < channels; c++) {
    double plain = 0, weighted = 0;
    for (int other = 0; other < threads; other++) {
      plain += sums.first[other * channels + c];
      weighted += sums.second[other * channels + c];
    }
    of_bias[c] = static_cast<float>(plain);
    of_weight[c] = static_cast<float>(weighted * scale[c]);
    factor[c] = weight[c] * scale[c];
    average[c] = static_cast<float>(plain / rows);
    along[c] = static_cast<float>(weighted / rows * scale[c] * scale[c]);
  }
  if (of_x == nullptr) return;
  const float *__restrict f = factor.data(), *__restrict a = average.data(), *__restrict l = along.data();
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const uint16_t *__restrict from = x + row * channels, *__restrict slope = gradient + row * channels;
    uint16_t* __restrict to = of_x + row * channels;
#pragma omp simd
    for (int64_t c = 0; c < channels; c++) to[c] = rounded((widened(slope[c]) - a[c] - (widened(from[c]) - mean[c]) * l[c]) * f[c]);
  }
}

}  // extern "C"
