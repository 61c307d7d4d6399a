// Drawing a picture with objects on a canvas. Coordinates of the server are pixels of the picture with its EXIF orientation applied,
// which is how browsers show it.

const FONT = "system-ui, sans-serif"

// Width and height in pixels of a picture that is shown in a given space (CSS pixels). Small pictures are enlarged by whole numbers.
function fitted(picture, width, height) {
  const fits = Math.min(width / picture.width, height / picture.height)
  const scale = fits >= 2 ? Math.min(8, Math.floor(fits)) : Math.min(1, fits)
  return [Math.max(1, Math.round(picture.width * scale)), Math.max(1, Math.round(picture.height * scale))]
}

// Draw into a canvas of width × height (plus the lines below). `unit` is the size of a CSS pixel in pixels of the canvas.
function draw(canvas, picture, { objects, lines, width, height, unit, picked = null }) {
  const context = canvas.getContext("2d")
  const band = bandOf(lines, unit)
  canvas.width = width
  canvas.height = height + band.height
  context.imageSmoothingEnabled = width < picture.width * 2 // enlarged pixels stay squares
  context.imageSmoothingQuality = "high"
  context.drawImage(picture.image, 0, 0, width, height)
  const scale = [width / picture.width, height / picture.height]
  const placed = []
  const order = objects.map((_, index) => index).filter(index => index !== picked)
  context.globalAlpha = picked === null ? 1 : 0.35
  for (const index of order.toReversed()) outline(context, objects[index], scale, unit, 2)
  if (picked === null) for (const index of order) label(context, objects[index], scale, unit, width, height, placed)
  context.globalAlpha = 1
  if (picked !== null) {
    outline(context, objects[picked], scale, unit, 4)
    label(context, objects[picked], scale, unit, width, height, placed)
  }
  context.fillStyle = "#181820"
  context.fillRect(0, height, width, band.height)
  context.fillStyle = "#fff"
  context.font = `${band.size}px ${FONT}`
  context.textBaseline = "middle"
  lines.forEach((line, index) => context.fillText(line, 8 * unit, height + band.padding + band.step * (index + 0.5), width - 16 * unit))
}

function bandOf(lines, unit) {
  const size = 14 * unit
  return { size, step: size * 1.5, padding: 4 * unit, height: lines.length ? Math.round(lines.length * size * 1.5 + 8 * unit) : 0 }
}

function outline(context, object, [across, down], unit, line) {
  const [left, top, right, bottom] = object.box
  const box = [left * across, top * down, (right - left) * across, (bottom - top) * down]
  context.lineWidth = (line + 2) * unit
  context.strokeStyle = "#0009" // dark around the line, so that it is visible on every picture
  context.strokeRect(...box)
  context.lineWidth = line * unit
  context.strokeStyle = object.colour
  context.strokeRect(...box)
  const radius = Math.min(4 * unit, Math.max(unit, box[2] / 30))
  for (const [x, y] of object.landmarks ?? []) {
    context.beginPath()
    context.arc(x * across, y * down, radius, 0, 7)
    context.fillStyle = "#ff6040"
    context.fill()
    context.lineWidth = unit / 2
    context.strokeStyle = "#000"
    context.stroke()
  }
}

// Write the name and score above, below or in the box; leave them out where they would cover those of a surer object.
function label(context, object, [across, down], unit, width, height, placed) {
  const size = 12 * unit
  context.font = `600 ${size}px ${FONT}`
  const text = object.written ?? `${object.name} ${object.score.toFixed(2)}`
  const wide = context.measureText(text).width + 8 * unit
  const high = size * 1.45
  const [left, top, , bottom] = object.box
  const x = Math.max(0, Math.min(left * across - unit, width - wide))
  const free = [top * down - high, bottom * down, top * down].map(y => [x, Math.max(0, Math.min(y, height - high)), wide, high])
    .find(place => !placed.some(other => overlapping(place, other)))
  if (!free) return
  placed.push(free)
  context.fillStyle = object.colour
  context.fillRect(...free)
  context.fillStyle = "#000" // all colours are light
  context.textBaseline = "middle"
  context.fillText(text, free[0] + 4 * unit, free[1] + high / 2 + unit / 2)
}

const overlapping = ([a, b, c, d], [e, f, g, h]) => a < e + g && e < a + c && b < f + h && f < b + d

// Index of the smallest object at a point of the picture; null if there is none.
function objectAt(objects, x, y) {
  const area = ({ box: [left, top, right, bottom] }) => (right - left) * (bottom - top)
  const inside = objects.map((object, index) => [object, index])
    .filter(([{ box: [left, top, right, bottom] }]) => x >= left && x <= right && y >= top && y <= bottom)
    .sort(([a], [b]) => area(a) - area(b))
  return inside[0]?.[1] ?? null
}

const LARGEST = 16_000_000 // pixels of a canvas that phones support

// The drawn picture in its full size, as a PNG.
function drawnFile(picture, objects, lines) {
  const fits = Math.min(1, Math.sqrt(LARGEST / (picture.width * picture.height)))
  const grows = Math.max(1, Math.ceil(480 / Math.max(picture.width, picture.height)))
  const [width, height] = [picture.width, picture.height].map(side => Math.round(side * fits * grows))
  const canvas = element("canvas")
  draw(canvas, picture, { objects, lines, width, height, unit: Math.max(1, Math.max(width, height) / 900) })
  return new Promise(done => canvas.toBlob(done, "image/png"))
}
