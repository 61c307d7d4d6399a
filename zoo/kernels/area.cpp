// Means over rectangles of an image, from an integral image: sums over all pixels to the left of and above each pixel corner,
// [height + 1, 3, width + 1]. The sums are stored modulo 2^32, so that the sum of a rectangle is exact if the rectangle has less than
// 16 million pixels, however large the image is.

#include <algorithm>
#include <cstdint>
#include <omp.h>
#include <vector>

namespace {

const int64_t PLANES = 3;

// Divide an interval into `parts` parts, and store their begins and ends; if it doesn't divide evenly, neighbouring parts share a pixel.
void divide(int64_t first, int64_t end, int64_t parts, int64_t* begins, int64_t* ends) {
  for (int64_t part = 0; part < parts; part++) {
    begins[part] = first + part * (end - first) / parts;
    ends[part] = first + ((part + 1) * (end - first) + parts - 1) / parts;
  }
}

}  // namespace

extern "C" {

// Compute the integral image of an image [height, width, 3].
void zoo_area_sums(const uint8_t* image, int64_t height, int64_t width, uint32_t* sums) {
  const int64_t line = width + 1;
  std::fill_n(sums, PLANES * line, 0);
  for (int64_t y = 0; y < height; y++, image += PLANES * width, sums += PLANES * line) {
    uint32_t* next = sums + PLANES * line;
    uint32_t red = 0, green = 0, blue = 0;
    next[0] = next[line] = next[2 * line] = 0;
    for (int64_t x = 1; x <= width; x++) {
      const uint8_t* pixel = image + PLANES * (x - 1);
      red += pixel[0], green += pixel[1], blue += pixel[2];
      next[x] = sums[x] + red;
      next[line + x] = sums[line + x] + green;
      next[2 * line + x] = sums[2 * line + x] + blue;
    }
  }
}

// Compute the means [3, rows, columns] of the rectangles from `top` to `bottom` of each row and from `left` to `right` of each column.
void zoo_area_shrink(const uint32_t* sums, int64_t width, const int64_t* top, const int64_t* bottom, int64_t rows, const int64_t* left,
                     const int64_t* right, int64_t columns, float* means, int threads) {
  const int64_t line = width + 1;
  std::vector<float> wide(columns);
  for (int64_t x = 0; x < columns; x++) wide[x] = static_cast<float>(1.0 / (right[x] - left[x]));
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t y = 0; y < rows; y++) {
    const float high = static_cast<float>(1.0 / (bottom[y] - top[y]));
    for (int64_t plane = 0; plane < PLANES; plane++) {
      const uint32_t *above = sums + (top[y] * PLANES + plane) * line, *below = sums + (bottom[y] * PLANES + plane) * line;
      float* to = means + (plane * rows + y) * columns;
      for (int64_t x = 0; x < columns; x++) {
        const uint32_t total = below[right[x]] - above[right[x]] - below[left[x]] + above[left[x]];
        to[x] = static_cast<float>(total) * wide[x] * high;
      }
    }
  }
}

// Shrink boxes [count, 4] xyxy to squares [count, 3, side, side] of means.
void zoo_area_crop(const uint32_t* sums, int64_t width, const int64_t* boxes, int64_t count, int64_t side, float* squares, int threads) {
  const int64_t line = width + 1;
#pragma omp parallel num_threads(threads)
  {
    std::vector<int64_t> left(side), right(side), top(side), bottom(side);
#pragma omp for schedule(static)
    for (int64_t number = 0; number < count; number++) {
      const int64_t* box = boxes + 4 * number;
      divide(box[0], box[2], side, left.data(), right.data());
      divide(box[1], box[3], side, top.data(), bottom.data());
      float* to = squares + number * PLANES * side * side;
      for (int64_t plane = 0; plane < PLANES; plane++) {
        for (int64_t y = 0; y < side; y++) {
          const uint32_t *above = sums + (top[y] * PLANES + plane) * line, *below = sums + (bottom[y] * PLANES + plane) * line;
          for (int64_t x = 0; x < side; x++, to++) {
            const uint32_t total = below[right[x]] - above[right[x]] - below[left[x]] + above[left[x]];
            *to = static_cast<float>(static_cast<double>(total) / ((bottom[y] - top[y]) * (right[x] - left[x])));
          }
        }
      }
    }
  }
}

}  // extern "C"
