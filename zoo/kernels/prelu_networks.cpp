// Small networks of convolutions, each followed by PReLU and optionally max pooling, fused: every image, or a tile of it, passes through
// all layers within the cache of one thread. In float32; maps are channels last.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <omp.h>
#include <vector>

// A layer: a square kernel without padding, then max pooling over windows of `pool` positions with stride `step`, the last of which may
// extend past the edge.
struct Layer {
  const float *weights;  // [kernel, kernel, in, wide], where `wide` is `out` rounded up to a multiple of 16
  const float *bias;     // [wide]
  const float *slope;    // [wide], slope of negative values
  int64_t kernel, in, out, pool, step;
};

namespace {

const int64_t FILLED = 16;  // channels are padded to a multiple of this
const int64_t DOWN = 44, ALONG = 92;  // output positions of a tile: leaves small remainders in the first layers of MTCNN's first network

#ifdef __AVX512F__
const int LANES = 16, SUMS = 24;  // channels computed at once; accumulators that fit into registers next to the operands
#else
const int LANES = 8, SUMS = 12;
#endif
typedef float Floats __attribute__((vector_size(4 * LANES)));

inline Floats read(const float* from) {
  Floats found;
  std::memcpy(&found, from, sizeof found);
  return found;
}

inline void write(Floats value, float* to) { std::memcpy(to, &value, sizeof value); }

inline int64_t wide(const Layer& layer) { return (layer.out + FILLED - 1) / FILLED * FILLED; }

// Number of output positions of a layer along a side with `side` input positions.
inline int64_t convolved(const Layer& layer, int64_t side) { return side - layer.kernel + 1; }
inline int64_t pooled(const Layer& layer, int64_t side) {
  if (side < layer.pool) return layer.pool - side < layer.step ? 1 : 0;
  return (side - layer.pool + layer.step - 1) / layer.step + 1;
}
inline int64_t answers(const Layer& layer, int64_t side) {
  const int64_t left = convolved(layer, side);
  return left < 1 ? 0 : pooled(layer, left);
}

// Compute VECTORS × LANES channels of PLACES neighbouring positions. IN is the number of input channels, or 0 to read it from `layer`.
template <int IN, int VECTORS, int PLACES>
inline __attribute__((always_inline)) void convolve(const float* from, int64_t row, const Layer& layer, int64_t channel, float* to) {
  const int64_t in = IN ? IN : layer.in, stride = wide(layer), window = layer.kernel * in;
  Floats sums[PLACES][VECTORS];
#pragma GCC unroll 32
  for (int p = 0; p < PLACES; p++)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) sums[p][v] = read(layer.bias + channel + v * LANES);
  const float* weights = layer.weights + channel;
  for (int64_t y = 0; y < layer.kernel; y++, from += row) {
    for (int64_t j = 0; j < window; j++, weights += stride) {
      Floats several[VECTORS];
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) several[v] = read(weights + v * LANES);
#pragma GCC unroll 32
      for (int p = 0; p < PLACES; p++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) sums[p][v] += several[v] * from[p * in + j];
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; v++) {
    const Floats slope = read(layer.slope + channel + v * LANES);
#pragma GCC unroll 32
    for (int p = 0; p < PLACES; p++) write(sums[p][v] > 0 ? sums[p][v] : sums[p][v] * slope, to + p * stride + channel + v * LANES);
  }
}

// Compute VECTORS × LANES channels of a row of `count` positions.
template <int IN, int VECTORS, int PLACES = SUMS / VECTORS>
void row_of(const float* from, int64_t row, const Layer& layer, int64_t channel, int64_t count, float* to) {
  const int64_t in = IN ? IN : layer.in;
  for (; count >= PLACES; count -= PLACES, from += PLACES * in, to += PLACES * wide(layer)) {
    convolve<IN, VECTORS, PLACES>(from, row, layer, channel, to);
  }
  if constexpr (PLACES > 1) {
    if (count > 0) row_of<IN, VECTORS, PLACES / 2>(from, row, layer, channel, count, to);
  }
}

// Function that computes some channels of a row of `count` positions.
typedef void (*Row)(const float* from, int64_t row, const Layer& layer, int64_t channel, int64_t count, float* to);

// Row function for a number of input channels and of vectors at once; the numbers of channels of MTCNN have compile-time offsets.
struct Kind {
  int64_t in, vectors;
  Row row;
};

Kind kind_of(const Layer& layer) {
  static const Kind kinds[] = {
      {3, 4, row_of<3, 4>},   {3, 2, row_of<3, 2>},   {3, 1, row_of<3, 1>},   {10, 2, row_of<10, 2>}, {10, 1, row_of<10, 1>},
      {16, 4, row_of<16, 4>}, {16, 2, row_of<16, 2>}, {28, 3, row_of<28, 3>}, {32, 4, row_of<32, 4>}, {32, 2, row_of<32, 2>},
      {32, 1, row_of<32, 1>}, {48, 4, row_of<48, 4>}, {64, 4, row_of<64, 4>},
  };
  for (const Kind& kind : kinds) {
    if (kind.in == layer.in && wide(layer) / LANES % kind.vectors == 0) return kind;
  }
  return {layer.in, 1, row_of<0, 1>};
}

// Buffers of a thread for its maps.
struct Room {
  std::vector<float> rows, maps[2];

  // Return a buffer of `size` numbers, plus the padding written after the channels of the last position.
  static float* of(std::vector<float>& some, int64_t size) {
    const size_t all = size + FILLED;
    if (some.size() < all) some.resize(all);
    return some.data();
  }
};

// Convolve one row of a map [height, width, in] into one of [columns, wide].
inline void convolve(const Kind& kind, const Layer& layer, const float* from, int64_t width, int64_t columns, float* to) {
  for (int64_t channel = 0; channel < wide(layer); channel += kind.vectors * LANES) {
    kind.row(from, width * layer.in, layer, channel, columns, to);
  }
}

// Pass a map [height, width, in] through one layer.
void pass(const Layer& layer, const float* from, int64_t height, int64_t width, Room& room, float* to) {
  const int64_t stride = wide(layer), rows = convolved(layer, height), columns = convolved(layer, width);
  const int64_t high = pooled(layer, rows), across = pooled(layer, columns);
  const Kind kind = kind_of(layer);
  if (layer.pool == 1 && layer.step == 1 && stride == layer.out) {
    for (int64_t y = 0; y < rows; y++) convolve(kind, layer, from + y * width * layer.in, width, columns, to + y * columns * stride);
    return;
  }
  float* ring = Room::of(room.rows, layer.pool * columns * stride);
  int64_t done = 0;
  for (int64_t y = 0; y < high; y++) {
    const int64_t top = y * layer.step, bottom = std::min(rows, top + layer.pool);
    for (; done < bottom; done++) {
      convolve(kind, layer, from + done * width * layer.in, width, columns, ring + done % layer.pool * columns * stride);
    }
    for (int64_t x = 0; x < across; x++, to += layer.out) {
      const int64_t left = x * layer.step, right = std::min(columns, left + layer.pool);
      for (int64_t c = 0; c < layer.out; c += LANES) {
        Floats largest = read(ring + (top % layer.pool * columns + left) * stride + c);
        for (int64_t r = top; r < bottom; r++) {
          for (int64_t place = left; place < right; place++) {
            const Floats value = read(ring + (r % layer.pool * columns + place) * stride + c);
            largest = value > largest ? value : largest;
          }
        }
        write(largest, to + c);  // numbers past `out` are overwritten by the next position
      }
    }
  }
}

}  // namespace

extern "C" {

// Return the number of output positions of the network along a side of `side` pixels.
int64_t zoo_prelu_network_answers(int64_t side, const Layer* layers, int64_t depth) {
  for (const Layer* layer = layers; layer < layers + depth; layer++) side = answers(*layer, side);
  return side;
}

// Compute the output [count, h, w, out] of the last layer for images [count, 3, height, width], whose values are transformed to
// (value - shift) * scale.
void zoo_prelu_network(const float* pictures, int64_t count, int64_t height, int64_t width, float shift, float scale, const Layer* layers,
                       int64_t depth, float* answer, int threads) {
  const int64_t high = zoo_prelu_network_answers(height, layers, depth), across = zoo_prelu_network_answers(width, layers, depth);
  int64_t step = 1, field = 1;
  for (const Layer* layer = layers; layer < layers + depth; layer++) step *= layer->step;
  for (const Layer* layer = layers + depth - 1; layer >= layers; layer--) field = (field - 1) * layer->step + layer->pool + layer->kernel - 1;
  if (high < 1 || across < 1) return;
  const int64_t in = layers[0].in, out = layers[depth - 1].out;
  const int64_t down = (high + DOWN - 1) / DOWN, along = (across + ALONG - 1) / ALONG;
#pragma omp parallel num_threads(threads)
  {
    Room room;
#pragma omp for schedule(dynamic)
    for (int64_t tile = 0; tile < count * down * along; tile++) {
      const int64_t y = tile / along % down * DOWN, x = tile % along * ALONG;
      const int64_t y_end = std::min(high, y + DOWN), x_end = std::min(across, x + ALONG);
      int64_t tall = (y_end == high ? height : (y_end - 1) * step + field) - y * step;
      int64_t broad = (x_end == across ? width : (x_end - 1) * step + field) - x * step;
      const float* from = pictures + (tile / (along * down) * in * height + y * step) * width + x * step;
      float* map = Room::of(room.maps[0], tall * broad * in);
      for (int64_t c = 0; c < in; c++) {
        for (int64_t row = 0; row < tall; row++) {
          const float* line = from + (c * height + row) * width;
          for (int64_t column = 0; column < broad; column++) map[(row * broad + column) * in + c] = (line[column] - shift) * scale;
        }
      }
      for (int64_t number = 0; number < depth; number++) {
        const Layer& layer = layers[number];
        const int64_t h = answers(layer, tall), w = answers(layer, broad);
        float* next = Room::of(room.maps[1 - number % 2], h * w * layer.out);
        pass(layer, room.maps[number % 2].data(), tall, broad, room, next);
        tall = h, broad = w, map = next;
      }
      for (int64_t row = 0; row < y_end - y; row++) {
        const int64_t place = (tile / (along * down) * high + y + row) * across + x;
        std::memcpy(answer + place * out, map + row * broad * out, (x_end - x) * out * sizeof *answer);
      }
    }
  }
}

}  // extern "C"
