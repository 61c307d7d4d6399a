// Non-maximum suppression, with the arithmetic of torchvision's `nms_kernel.cpp` for each box: the results are bit-identical.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#pragma GCC optimize("fp-contract=off")  // fused multiply-subtract would skip a rounding and change the results

extern "C" {

// For boxes [count, 4] xyxy by descending score, store in `kept` whether each has an IoU of at most `most` with all boxes kept before.
void zoo_suppress(const float* boxes, int64_t count, double most, uint8_t* kept) {
  float limit = static_cast<float>(most);  // the largest float that isn't above `most`: a float above one is above the other
  if (static_cast<double>(limit) > most) limit = std::nextafter(limit, -INFINITY);
  std::vector<float> sides[4], areas(count);
  for (int64_t side = 0; side < 4; side++) {
    sides[side].resize(count);
    for (int64_t box = 0; box < count; box++) sides[side][box] = boxes[4 * box + side];
  }
  const float *left = sides[0].data(), *top = sides[1].data(), *right = sides[2].data(), *bottom = sides[3].data();
  for (int64_t box = 0; box < count; box++) areas[box] = (right[box] - left[box]) * (bottom[box] - top[box]);
  std::fill_n(kept, count, 1);
  for (int64_t box = 0; box < count; box++) {
    if (!kept[box]) continue;
    const float from_x = left[box], from_y = top[box], to_x = right[box], to_y = bottom[box], area = areas[box];
    for (int64_t other = box + 1; other < count; other++) {
      const float width = std::max(0.0f, std::min(to_x, right[other]) - std::max(from_x, left[other]));
      const float height = std::max(0.0f, std::min(to_y, bottom[other]) - std::max(from_y, top[other]));
      const float shared = width * height;
      kept[other] &= !(shared / (area + areas[other] - shared) > limit);
    }
  }
}

}  // extern "C"
