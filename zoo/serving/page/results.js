// The predictions of the picture shown: canvas, tables, operating point, timings and downloads.

const state = {
  models: [], limits: {}, model: null,
  shots: [], current: null, // pictures: { file, url, picture, results by model }
  threshold: null, // null: the model's own
  hidden: new Set(), // names of classes that are not shown
  picked: null, // index of the highlighted object
}

const resultOf = shot => (shot?.refused ? { error: shot.refused } : shot?.results.get(state.model?.name))
const shown = () => {
  const result = resultOf(state.current)
  return result?.answer ? at(result.answer, state.model, state.threshold) : null
}

// The gallery's answers about the faces at the present threshold; null without a gallery.
function peopleShown() {
  const found = resultOf(state.current)?.people ?? null
  return byDistance(state.model, found) ? found.map(each => decidedFace(each, state.threshold)) : found
}

function visible() {
  const answer = shown()
  if (!answer) return { objects: [], lines: [] }
  const found = { objects: [], lines: [] }
  for (const [head, about, own] of parts(answer, state.model)) {
    found.objects.push(...objectsOf(own, about, peopleShown()).filter(object => !state.hidden.has(object.name)))
    found.lines.push(...linesOf(own, about).map(line => (isJoint(state.model) ? `${head}: ${line}` : line)))
  }
  return found
}

function renderPicture() {
  const shot = state.current
  $("view").hidden = !shot
  $("canvas").hidden = !shot?.picture
  $("drawn").hidden = $("drawn-note").hidden = !shot || shot.picture !== null || !shot.drawn
  if (!shot?.picture) {
    if (shot?.drawn) $("drawn").src = shot.drawn
    $("drawn").alt = shot ? `${shot.file.name}, drawn by the server` : ""
    return
  }
  const unit = Math.min(3, window.devicePixelRatio || 1)
  const [wide, high] = fitted(shot.picture, $("view").clientWidth, Math.max(320, window.innerHeight * 0.72))
  const { objects, lines } = visible()
  const [width, height] = [wide, high].map(side => Math.round(side * unit))
  draw($("canvas"), shot.picture, { objects, lines, width, height, unit, picked: state.picked })
  $("canvas").style.width = `${wide}px`
  const drawn = objects.length ? "the objects" : "the predictions"
  $("canvas").setAttribute("aria-label", `${shot.file.name} with ${drawn} listed under Predictions`)
}

function renderAnswers({ moving = false } = {}) {
  const result = resultOf(state.current)
  const answer = shown()
  $("save").hidden = $("code").hidden = !answer
  $("save-picture").hidden = !state.current?.picture
  renderPoint(Boolean(answer))
  renderTiming(result?.timing)
  if (!answer) {
    $("heads").replaceChildren()
    return
  }
  const people = peopleShown()
  let first = 0
  const made = parts(answer, state.model).flatMap(([head, about, own]) => {
    const objects = objectsOf(own, about, people)
    const shownObjects = objects.filter(object => !state.hidden.has(object.name))
    const body = ["boxes", "faces"].includes(kindOf(about)) ? [chips(objects), table(shownObjects, first, about)]
      : kindOf(about) === "other" ? [asJson(head, own)] : [bars(own, about)]
    first += shownObjects.length
    return isJoint(state.model) ? [element("h3", {}, head), ...body] : body
  })
  refill($("heads"), ...made)
  renderCode()
  const text = `${state.current.file.name}: ${summary(answer, state.model, people)}`
  if (moving) sayWhenStill(text)
  else say(text)
}

// For tasks that the page doesn't know.
function asJson(head, answer) {
  return element("pre", { tabindex: "0", role: "region", "aria-label": `Answer of ${head}` }, JSON.stringify(answer, null, 2))
}

// Buttons that show and hide the objects of a class.
function chips(objects) {
  const colours = new Map(objects.map(object => [object.name, object.colour]))
  if (!colours.size) return ""
  const made = [...colours].map(([name, colour]) => {
    const count = objects.filter(object => object.name === name).length
    const toggle = () => {
      state.hidden.has(name) ? state.hidden.delete(name) : state.hidden.add(name)
      state.picked = null
      render()
    }
    const words = { type: "button", "data-key": `class ${name}`, "aria-pressed": String(!state.hidden.has(name)), click: toggle }
    return element("li", {}, element("button", words, dot(colour), `${name} × ${count}`))
  })
  return element("ul", { class: "chips", "aria-label": "Classes shown" }, ...made)
}

function table(objects, first, about) {
  const none = kindOf(about) === "faces" ? "No faces." : "No objects at this operating point."
  if (!objects.length) return element("p", { class: "soft" }, none)
  const head = ["Object", "Score", "Box, in pixels"]
  const rows = objects.map((object, row) => {
    const index = first + row
    const pick = () => {
      state.picked = state.picked === index ? null : index
      render()
    }
    const pressed = String(state.picked === index)
    const words = { type: "button", class: "pick", "data-key": `object ${index}`, "aria-pressed": pressed, click: pick }
    const [left, top, right, bottom] = object.box.map(value => Math.round(value))
    return element("tr", { "data-picked": state.picked === index },
      element("th", { scope: "row" }, element("button", words, dot(object.colour), object.name),
        ...object.about.map(text => element("div", { class: "about" }, text))),
      element("td", { class: "n" }, object.score.toFixed(2)), element("td", { class: "n" }, `${left}, ${top} – ${right}, ${bottom}`))
  })
  const header = element("tr", {}, ...head.map((text, column) => element("th", { scope: "col", class: column > 0 && "n" }, text)))
  const whole = element("table", {}, element("thead", {}, header), element("tbody", {}, ...rows))
  return element("div", { class: "table", role: "region", "aria-label": "Objects", tabindex: "0", "data-key": "table" }, whole)
}

function bars(answer, about) {
  const multiple = kindOf(about) === "labels"
  const on = name => (multiple ? answer.names.includes(name) : answer.name === name)
  const all = multiple ? resultOf(state.current) && probabilitiesOf(about) : answer.top
  const { positive, limit } = kindOf(about) === "binary" ? decisionOf(about, state.threshold) : { positive: -1, limit: null }
  const made = all.flatMap(({ name, probability }) => {
    const fill = element("i")
    fill.style.width = percent(Math.max(probability, 0.004)).replace(" ", "")
    const mark = multiple ? state.threshold ?? about.thresholds?.[name] ?? 0.5 : about.classes[positive] === name ? limit : null
    const line = element("b", { title: mark === null ? null : `threshold ${mark.toFixed(2)}` })
    if (mark !== null) line.style.left = `calc(${mark * 100}% - 1px)`
    return [
      element("dt", { class: on(name) && "on" }, name, ...(on(name) ? [element("span", { class: "soft" }, " ✓")] : [])),
      element("dd", { class: "bar", "aria-hidden": "true" }, fill, ...(mark === null ? [] : [line])),
      element("dd", { class: "n" }, percent(probability)),
    ]
  })
  const note = multiple && !answer.names.length ? [element("p", { class: "soft" }, "No class at this operating point.")] : []
  return element("div", {}, ...note, element("dl", { class: "bars" }, ...made))
}

// All classes of a multi-label answer with their probabilities, at most 20.
function probabilitiesOf(about) {
  const own = parts(resultOf(state.current).answer, state.model).find(([, each]) => each === about)[2]
  return own.names.map((name, index) => ({ name, probability: own.probabilities[index] })).slice(0, 20)
}

const STAGES = {
  network: ["network", "#7c8690"], read: ["upload", "#56b4e9"], decode: ["decoding", "#e69f00"], wait: ["queue", "#cc79a7"],
  compute: ["computing", "#00b184"], encode: ["encoding", "#f0e442"],
}

function renderTiming(timing) {
  $("timing").hidden = !timing
  if (!timing) return
  const stages = Object.entries(timing.stages).filter(([name]) => name in STAGES)
  const stack = element("div", { class: "stack", "aria-hidden": "true" }, ...stages.map(([name, value]) => {
    const part = element("i")
    part.style.background = STAGES[name][1]
    part.style.flex = `${value} 0 0`
    return part
  }))
  const legend = stages.map(([name, value]) => element("li", {}, dot(STAGES[name][1]), `${STAGES[name][0]} ${milliseconds(value)}`))
  const title = element("h3", {}, `Time: ${milliseconds(timing.total)}`)
  $("timing").replaceChildren(title, ...(stages.length ? [stack, element("ul", { class: "legend" }, ...legend)] : []))
}

// The slider. It filters what is shown, without a new request.
function renderPoint(some) {
  const people = resultOf(state.current)?.people
  if (some && byDistance(state.model, people)) return renderDistance(people.find(found => found.threshold > 0))
  setSlider("Threshold", 1, 0.01)
  const heads = headsOf(state.model ?? { heads: {} }).filter(([, about]) => adjustable(about))
  $("point").hidden = !some || !heads.length
  if ($("point").hidden) return
  const without = heads.some(([, about]) => !hasOwn(about))
  const own = state.threshold === null
  const stored = heads.flatMap(([, about]) => Object.values(about.thresholds ?? { all: kindOf(about) === "boxes" ? DRAWN : 0.5 }))
  $("own").checked = own
  $("threshold").value = state.threshold ?? stored.toSorted((a, b) => a - b)[Math.floor(stored.length / 2)]
  $("threshold-value").textContent = own ? (stored.length > 1 ? "per class" : stored[0].toFixed(2)) : state.threshold.toFixed(2)
  $("threshold").setAttribute("aria-valuetext", own ? "the model's own thresholds" : state.threshold.toFixed(2))
  const listed = heads.flatMap(([, about]) => Object.entries(about.thresholds ?? {})).map(([name, value]) => `${name} ${value.toFixed(2)}`)
  const least = heads.map(([, about]) => about.options.score_threshold).find(value => value > 0)
  const returned = least ? `everything with a score of at least ${least}` : "all that it finds"
  const short = listed.length > 6 ? `${listed.slice(0, 6).join(", ")}, …` : listed.join(", ")
  $("point-note").textContent = without ? `This detector has no operating point: it returns ${returned}. zoo tune chooses thresholds.`
    : short || "The default thresholds; zoo tune chooses better ones."
}

function renderDistance({ threshold, band: [low, high] }) {
  const own = state.threshold === null
  const text = own ? threshold.toPrecision(2) : state.threshold.toPrecision(2)
  $("point").hidden = false
  setSlider("Largest distance", 2 * threshold, threshold / 100)
  $("own").checked = own
  $("threshold").value = state.threshold ?? threshold
  $("threshold-value").textContent = text
  $("threshold").setAttribute("aria-valuetext", own ? `${text}, the model's own` : text)
  $("point-note").textContent = `Own threshold: ${threshold.toPrecision(2)}, undecided from ${low.toPrecision(2)} to ${high.toPrecision(2)}.`
}

function setSlider(name, max, step) {
  $("threshold-name").textContent = name
  Object.assign($("threshold"), { max, step })
}

function render(options) {
  renderPicture()
  renderAnswers(options)
  if (!options?.moving) renderStrip() // its pictures would flicker
}

function renderStrip() {
  $("strip").hidden = state.shots.length < 2
  refill($("strip"), ...state.shots.map((shot, index) => {
    const result = resultOf(shot)
    const mark = result?.error ? "!" : result ? "✓" : "…"
    const name = `${shot.file.name}${result?.error ? ", failed" : result ? "" : ", waiting"}`
    const current = String(shot === state.current)
    const words = { type: "button", "data-key": String(index), "data-state": mark, "aria-label": name, "aria-current": current }
    const preview = shot.picture === null ? element("span", {}, shot.file.name) : element("img", { src: shot.url, alt: "" })
    return element("li", {}, element("button", { ...words, click: () => select(shot) }, preview))
  }))
}
