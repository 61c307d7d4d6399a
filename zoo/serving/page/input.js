// Pictures: chosen, dropped, pasted or taken with a camera.

// Decode a picture as the server does, with its EXIF orientation applied; null if the browser can't show it.
async function decoded({ file, url }) {
  const image = new Image()
  image.src = url
  try {
    await image.decode()
    const orientation = webpOrientation(await file.arrayBuffer())
    if (orientation > 1) return turned(await createImageBitmap(file, { imageOrientation: "none" }), orientation)
  } catch {
    return null
  }
  return { image, width: image.naturalWidth, height: image.naturalHeight }
}

// EXIF orientation of a WebP file, which browsers don't apply; 1 for other files.
function webpOrientation(buffer) {
  const data = new DataView(buffer)
  const word = place => String.fromCharCode(...new Uint8Array(buffer, place, 4))
  if (buffer.byteLength < 12 || word(0) !== "RIFF" || word(8) !== "WEBP") return 1
  let place = 12
  while (place + 8 < buffer.byteLength && word(place) !== "EXIF") {
    const size = data.getUint32(place + 4, true)
    place += 8 + size + (size % 2)
  }
  if (place + 8 >= buffer.byteLength) return 1
  let tiff = place + 8
  if (word(tiff) === "Exif") tiff += 6
  const little = data.getUint8(tiff) === 0x49 // "I", as in "II"
  const entries = tiff + data.getUint32(tiff + 4, little)
  for (let entry = 0; entry < data.getUint16(entries, little); entry++) {
    const at = entries + 2 + 12 * entry
    if (data.getUint16(at, little) === 274) return data.getUint16(at + 8, little)
  }
  return 1
}

// Turn and mirror a picture as an EXIF orientation (2 to 8) declares.
function turned(bitmap, orientation) {
  const { width: w, height: h } = bitmap
  const matrix = { 2: [-1, 0, 0, 1, w, 0], 3: [-1, 0, 0, -1, w, h], 4: [1, 0, 0, -1, 0, h], 5: [0, 1, 1, 0, 0, 0],
    6: [0, 1, -1, 0, h, 0], 7: [0, -1, -1, 0, h, w], 8: [0, -1, 1, 0, 0, w] }[orientation] ?? [1, 0, 0, 1, 0, 0]
  const [width, height] = orientation >= 5 ? [h, w] : [w, h]
  const image = element("canvas", { width, height })
  const context = image.getContext("2d")
  context.setTransform(...matrix)
  context.drawImage(bitmap, 0, 0)
  return { image, width, height }
}

async function add(files) {
  const several = [...files]
  if (!several.length) return
  hideFault()
  const made = several.map(file => ({ file, url: URL.createObjectURL(file), results: new Map(), refused: tooLarge(file) }))
  state.shots.push(...made)
  $("stage").classList.add("filled")
  $("clear").hidden = false
  await select(made[0])
}

// A server that refuses a large body closes the connection, which browsers report without the reason.
function tooLarge(file) {
  const limit = state.limits.body_bytes ?? Infinity
  if (file.size <= limit - 2000) return null // the form around a file takes a few hundred bytes
  const [has, most] = [file.size, limit].map(bytes => `${(bytes / 2 ** 20).toFixed(1)} MB`)
  return new Refusal(413, `${file.name} has ${has}; the server takes at most ${most}.`)
}

async function select(shot) {
  state.current = shot
  state.picked = null
  if (shot.picture === undefined) shot.picture = await decoded(shot)
  if (state.current !== shot) return
  render()
  const result = resultOf(shot)
  hideFault()
  if (result?.error) failed(shot, result.error)
  else if (!result) say(`${shot.file.name}: waiting for the server …`, true)
  await work()
}

function clear() {
  for (const shot of state.shots) URL.revokeObjectURL(shot.url)
  Object.assign(state, { shots: [], current: null, picked: null })
  $("stage").classList.remove("filled")
  $("clear").hidden = true
  hideFault()
  render()
  say("No picture yet.")
  $("choose").focus()
}

function prepareInput() {
  const camera = Boolean(navigator.mediaDevices?.getUserMedia)
  const phone = matchMedia("(pointer: coarse)").matches
  $("camera").hidden = !camera && !phone // without HTTPS, browsers let pages use a camera only through a phone's camera application
  $("choose").addEventListener("click", () => $("files").click())
  $("clear").addEventListener("click", clear)
  $("camera").addEventListener("click", () => (phone || !camera ? $("shoot").click() : record()))
  for (const input of [$("files"), $("shoot")]) {
    input.addEventListener("change", async () => {
      const files = [...input.files]
      input.value = "" // so that the same file can be chosen again
      await add(files)
    })
  }
  document.addEventListener("paste", event => {
    const files = event.clipboardData?.files ?? []
    if (files.length) {
      event.preventDefault()
      add(files)
    }
  })
  const over = on => event => {
    if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return
    event.preventDefault()
    $("stage").classList.toggle("over", on)
  }
  document.addEventListener("dragenter", over(true))
  document.addEventListener("dragover", over(true))
  document.addEventListener("dragleave", event => event.relatedTarget === null && $("stage").classList.remove("over"))
  document.addEventListener("drop", event => {
    over(false)(event)
    add(event.dataTransfer?.files ?? [])
  })
}

let stream = null

async function record() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } })
  } catch (error) {
    const words = error.name === "NotAllowedError" ? "The browser doesn't allow this page to use the camera." : "No camera was found."
    showFault(Object.assign(new Error(words), { title: "The camera can't be used" }))
    return
  }
  $("video").srcObject = stream
  $("recorder").showModal()
}

function prepareRecorder() {
  $("recorder").addEventListener("close", () => {
    stream?.getTracks().forEach(track => track.stop())
    $("video").srcObject = stream = null
    $("camera").focus()
  })
  $("leave").addEventListener("click", () => $("recorder").close())
  $("capture").addEventListener("click", async () => {
    const { videoWidth: width, videoHeight: height } = $("video")
    if (!width) return
    const canvas = element("canvas", { width, height })
    canvas.getContext("2d").drawImage($("video"), 0, 0)
    const blob = await new Promise(done => canvas.toBlob(done, "image/jpeg", 0.95))
    $("recorder").close()
    await add([new File([blob], `camera-${state.shots.length + 1}.jpg`, { type: "image/jpeg" })])
  })
}
