// From the server's answer, which has everything above threshold 0, to that at an operating point. The form stays that of
// `zoo predict --json`, so that a downloaded answer equals the server's at the same threshold.

// A head's thresholds: stored ones, those of its task, or null for a detector without an operating point.
const kindOf = about => (about.task === "detection" ? "boxes" : about.task === "face" ? "faces"
  : about.task === "classification" ? (about.options.multi_label ? "labels" : about.classes.length === 2 ? "binary" : "label") : "other")
const adjustable = about => ["boxes", "labels", "binary"].includes(kindOf(about))
const hasOwn = about => kindOf(about) !== "boxes" || about.thresholds !== null
const headsOf = model => Object.entries(model.heads)
const isJoint = model => headsOf(model).length > 1
const DRAWN = 0.3 // as `zoo predict` draws detections without an operating point

const predictPath = model => `v1/models/${encodeURIComponent(model.name)}/predict`
const asksAll = model => headsOf(model).some(([, about]) => adjustable(about))

// The answer of each head: [name, properties of the head, answer].
const parts = (answer, model) => headsOf(model).map(([name, about]) => [name, about, isJoint(model) ? answer[name] : answer])

function at(answer, model, threshold) {
  if (!isJoint(model)) return headAt(answer, headsOf(model)[0][1], threshold)
  const found = { ...answer }
  for (const [name, about, own] of parts(answer, model)) found[name] = headAt(own, about, threshold)
  return found
}

// `threshold` is null for the model's own.
function headAt(answer, about, threshold) {
  const limit = name => threshold ?? about.thresholds?.[name] ?? (kindOf(about) === "labels" ? 0.5 : 0)
  if (kindOf(about) === "boxes") {
    const kept = answer.scores.map((score, index) => score > limit(answer.names[index]))
    return selected(answer, ["boxes", "scores", "labels", "names", "attributes"], kept)
  }
  if (kindOf(about) === "labels") {
    const kept = answer.probabilities.map((probability, index) => probability > limit(answer.names[index]))
    return selected(answer, ["labels", "names", "probabilities"], kept)
  }
  if (kindOf(about) === "binary") return decided(answer, about, threshold)
  return answer
}

function selected(answer, lists, kept) {
  const found = { ...answer }
  for (const name of lists) if (answer[name]) found[name] = answer[name].filter((_, index) => kept[index])
  return found
}

function decided(answer, about, threshold) {
  const { positive, limit } = decisionOf(about, threshold)
  const probability = name => answer.top.find(each => each.name === name).probability
  const name = limit === null ? answer.top[0].name
    : probability(about.classes[positive]) > limit ? about.classes[positive] : about.classes[1 - positive]
  return { ...answer, label: about.classes.indexOf(name), name, probability: probability(name) }
}

// The class of two that a threshold decides about; without one, the most probable class is predicted.
function decisionOf(about, threshold) {
  const stored = Object.entries(about.thresholds ?? {})[0]
  return { positive: stored ? about.classes.indexOf(stored[0]) : 1, limit: threshold ?? stored?.[1] ?? null }
}

// Whether the slider is for the distance between faces; scores have precedence.
const byDistance = (model, people) => !asksAll(model) && Boolean(people?.some(found => found.threshold > 0))

// A gallery's answer about a face at another threshold, decided as the server does; null for the gallery's own.
function decidedFace(found, limit) {
  if (limit === null || !(found.threshold > 0)) return found
  const [low, high] = found.band.map(end => (end / found.threshold) * limit)
  const distance = found.matches[0]?.distance ?? Infinity
  const decision = distance < low ? (found.tied.length ? "undecided" : "known") : distance > high ? "unknown" : "undecided"
  return { ...found, threshold: limit, band: [low, high], decision, name: decision === "known" ? found.matches[0].name : null }
}

// The objects to draw and list: box, colour, names; landmarks of faces. `people` are a gallery's answers about the faces, if there is one.
function objectsOf(answer, about, people = null) {
  if (kindOf(about) === "boxes") {
    return answer.boxes.map((box, index) => ({
      box, name: answer.names[index], colour: colourOf(answer.labels[index]), score: answer.scores[index],
      about: Object.entries(answer.attributes?.[index] ?? {}).map(([name, each]) => `${name}: ${each.value} ${percent(each.probability)}`),
    }))
  }
  if (kindOf(about) !== "faces") return []
  return answer.faces.map((face, index) => {
    const found = people?.[index]
    const nearest = found?.matches?.[0]
    return {
      box: face.box, name: found ? found.name ?? found.decision : "face", colour: colourOf(found?.name ? 2 : 0), score: face.score,
      written: found ? found.name ?? found.decision : undefined, // the score would be taken for that of the name
      landmarks: (face.landmarks ?? []).filter(point => point !== null),
      about: nearest ? [`${nearest.name === found.name ? "" : `nearest: ${nearest.name}, `}distance ${Math.max(0, nearest.distance).toFixed(3)}`] : [],
    }
  })
}

// Lines to write below the picture: names of classes with probabilities.
function linesOf(answer, about) {
  if (kindOf(about) === "labels") {
    return answer.names.length ? answer.names.map((name, index) => `${name}  ${percent(answer.probabilities[index])}`) : ["no class"]
  }
  if (!["label", "binary"].includes(kindOf(about))) return []
  const others = answer.top.filter(each => each.name !== answer.name).slice(0, 2)
  return [{ name: answer.name, probability: answer.probability }, ...others].map(each => `${each.name}  ${percent(each.probability)}`)
}

// One sentence about an answer, for the status line.
function summary(answer, model, people) {
  const found = parts(answer, model).map(([head, about, own]) => {
    const objects = objectsOf(own, about, people)
    const lines = linesOf(own, about).map(line => line.replace("  ", " "))
    const text = ["boxes", "faces"].includes(kindOf(about)) ? inventory(objects, kindOf(about) === "faces" ? "face" : "object")
      : kindOf(about) === "labels" ? lines.join(", ") : lines[0] ?? "see below"
    return isJoint(model) ? `${head}: ${text}` : text
  })
  return `${found.join("; ")}.`
}

function inventory(objects, noun) {
  if (!objects.length) return `no ${noun}s`
  const counts = new Map()
  for (const each of objects) counts.set(each.name, (counts.get(each.name) ?? 0) + 1)
  const list = [...counts].map(([name, count]) => `${name} × ${count}`).join(", ")
  return counts.size === 1 && counts.has(noun) ? counted(objects.length, noun) : `${counted(objects.length, noun)}: ${list}`
}
