// RoI align: what a cell of a box holds is a weighted sum of pixels of a feature map, whose weights are products of those of its rows and
// of its columns. Maps lie channels last, and are read where they are.

#include <cstdint>
#include <cstring>
#include <omp.h>

namespace {

const int64_t LANES = 16;  // channels that are computed at once
const int64_t AT_ONCE = 4 * LANES;

typedef float Floats __attribute__((vector_size(4 * LANES)));

inline Floats read(const float* from) {
  Floats found;
  std::memcpy(&found, from, sizeof found);
  return found;
}

// A map's pixels, and the places and weights along one axis of a box's cells.
struct Map {
  const float* pixels;
  int64_t width;
};

struct Axis {
  const int64_t* places;
  const float* weights;
};

// Sum up `terms` × `terms` pixels for one cell.
inline void sum_up(const Map& map, int64_t channels, const Axis& down, const Axis& across, int64_t terms, float* cell) {
  int64_t c = 0;
  for (; c + AT_ONCE <= channels; c += AT_ONCE) {
    Floats sums[4] = {};
    for (int64_t y = 0; y < terms; y++) {
      const float* line = map.pixels + down.places[y] * map.width * channels + c;
      for (int64_t x = 0; x < terms; x++) {
        const float weight = down.weights[y] * across.weights[x], *from = line + across.places[x] * channels;
#pragma GCC unroll 4
        for (int64_t v = 0; v < 4; v++) sums[v] += weight * read(from + v * LANES);
      }
    }
    std::memcpy(cell + c, sums, sizeof sums);
  }
  for (; c < channels; c++) {
    float sum = 0;
    for (int64_t y = 0; y < terms; y++) {
      for (int64_t x = 0; x < terms; x++) {
        sum += down.weights[y] * across.weights[x] * map.pixels[(down.places[y] * map.width + across.places[x]) * channels + c];
      }
    }
    cell[c] = sum;
  }
}

}  // namespace

extern "C" {

// Pool boxes to [count, cells, cells, channels].
//
// `maps` has where the map of each box begins, and `widths` its width; `rows`, `columns` and their weights are [count, cells, terms].
void zoo_roi_align(const float* const* maps, const int64_t* widths, int64_t channels, const int64_t* rows, const float* row_weights,
                   const int64_t* columns, const float* column_weights, int64_t count, int64_t cells, int64_t terms, float* pooled,
                   int threads) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 8)
  for (int64_t box = 0; box < count; box++) {
    const Map map = {maps[box], widths[box]};
    for (int64_t y = 0; y < cells; y++) {
      for (int64_t x = 0; x < cells; x++) {
        const int64_t down = (box * cells + y) * terms, across = (box * cells + x) * terms;
        sum_up(map, channels, {rows + down, row_weights + down}, {columns + across, column_weights + across}, terms,
               pooled + ((box * cells + y) * cells + x) * channels);
      }
    }
  }
}

}  // extern "C"
