// RoI align: each cell of a box is a weighted sum of pixels of a feature map, whose weights are products of row weights and column
// weights. Maps are channels last, and are read in place. In the backward pass each thread handles separate channels, so that the order of
// summation doesn't depend on the number of threads.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <omp.h>

namespace {

const int64_t LANES = 16;  // channels computed at once
const int64_t AT_ONCE = 4 * LANES;

typedef float Floats __attribute__((vector_size(4 * LANES)));

inline Floats read(const float* from) {
  Floats found;
  std::memcpy(&found, from, sizeof found);
  return found;
}

inline void write(Floats value, float* to) { std::memcpy(to, &value, sizeof value); }

// Pixel positions and weights of a cell along one axis.
struct Axis {
  const int64_t* places;
  const float* weights;

  Axis at(int64_t term) const { return {places + term, weights + term}; }
};

// Call `each(offset, weight)` for the pixels of a map that contribute to a cell.
template <typename Each>
inline __attribute__((always_inline)) void by_pixels(int64_t width, int64_t channels, const Axis& down, const Axis& across, int64_t terms,
                                                     Each each) {
  for (int64_t y = 0; y < terms; y++) {
    for (int64_t x = 0; x < terms; x++) {
      each((down.places[y] * width + across.places[x]) * channels, down.weights[y] * across.weights[x]);
    }
  }
}

// Compute the weighted sum of the pixels of one cell.
inline void sum_up(const float* map, int64_t width, int64_t channels, const Axis& down, const Axis& across, int64_t terms, float* cell) {
  int64_t c = 0;
  for (; c + AT_ONCE <= channels; c += AT_ONCE) {
    Floats sums[4] = {};
    by_pixels(width, channels, down, across, terms, [&](int64_t offset, float weight) __attribute__((always_inline)) {
#pragma GCC unroll 4
      for (int64_t v = 0; v < 4; v++) sums[v] += weight * read(map + offset + c + v * LANES);
    });
    std::memcpy(cell + c, sums, sizeof sums);
  }
  for (; c < channels; c++) {
    float sum = 0;
    by_pixels(width, channels, down, across, terms, [&](int64_t offset, float weight) { sum += weight * map[offset + c]; });
    cell[c] = sum;
  }
}

// Add the gradient of one cell to its pixels, for channels from `first` to `end`.
inline void hand_on(const float* cell, int64_t first, int64_t end, int64_t width, int64_t channels, const Axis& down, const Axis& across,
                    int64_t terms, float* map) {
  if (end - first == LANES) {
    const Floats slope = read(cell + first);
    by_pixels(width, channels, down, across, terms, [&](int64_t offset, float weight) __attribute__((always_inline)) {
      write(read(map + offset + first) + weight * slope, map + offset + first);
    });
  } else {
    by_pixels(width, channels, down, across, terms, [&](int64_t offset, float weight) {
      for (int64_t c = first; c < end; c++) map[offset + c] += weight * cell[c];
    });
  }
}

}  // namespace

extern "C" {

// Pool boxes to [count, cells, cells, channels].
//
// `maps` contains a pointer to the map of each box, and `widths` its width; `rows`, `columns` and their weights are [count, cells, terms].
void zoo_roi_align(const float* const* maps, const int64_t* widths, int64_t channels, const int64_t* rows, const float* row_weights,
                   const int64_t* columns, const float* column_weights, int64_t count, int64_t cells, int64_t terms, float* pooled,
                   int threads) {
  const Axis down = {rows, row_weights}, across = {columns, column_weights};
#pragma omp parallel for num_threads(threads) schedule(dynamic, 8)
  for (int64_t box = 0; box < count; box++) {
    for (int64_t y = 0; y < cells; y++) {
      for (int64_t x = 0; x < cells; x++) {
        sum_up(maps[box], widths[box], channels, down.at((box * cells + y) * terms), across.at((box * cells + x) * terms), terms,
               pooled + ((box * cells + y) * cells + x) * channels);
      }
    }
  }
}

// Add the gradients of the maps to `maps`, given the gradient of the pooled boxes in `pooled`.
void zoo_roi_align_backward(const float* pooled, float* const* maps, const int64_t* widths, int64_t channels, const int64_t* rows,
                            const float* row_weights, const int64_t* columns, const float* column_weights, int64_t count, int64_t cells,
                            int64_t terms, int threads) {
  const Axis down = {rows, row_weights}, across = {columns, column_weights};
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int64_t first = 0; first < channels; first += LANES) {
    const int64_t end = std::min(channels, first + LANES);
    for (int64_t box = 0; box < count; box++) {
      for (int64_t y = 0; y < cells; y++) {
        for (int64_t x = 0; x < cells; x++) {
          hand_on(pooled + ((box * cells + y) * cells + x) * channels, first, end, widths[box], channels,
                  down.at((box * cells + y) * terms), across.at((box * cells + x) * terms), terms, maps[box]);
        }
      }
    }
  }
}

}  // extern "C"
