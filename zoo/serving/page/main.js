// Start: models, requests for all pictures one after another, and what the controls do.

let working = null // { abort, model }: the request in progress

// Ask for the predictions of all pictures that have none, that shown first.
async function work() {
  if (working || !state.model) return
  const model = state.model
  const shot = [state.current, ...state.shots].find(each => each && !each.refused && !each.results.has(model.name))
  if (!shot) return
  const own = { abort: new AbortController(), model }
  working = own
  let result
  try {
    result = await predicted(shot, model, own.abort.signal)
  } catch (error) {
    if (error.name !== "AbortError") result = { error }
  }
  if (working === own) working = null
  if (result && state.shots.includes(shot)) {
    shot.results.set(model.name, result)
    if (shot === state.current && model === state.model) {
      render()
      if (result.error) failed(shot, result.error)
      else if (result.warning) showFault(result.warning)
      else hideFault()
    } else {
      renderStrip()
    }
  }
  await work()
}

const PATIENCE = 3

async function predicted(shot, model, signal) {
  for (let attempt = 1; ; attempt++) {
    if (shot === state.current) say(`${shot.file.name}: waiting for the server …`, true)
    try {
      return await once(shot, model, signal)
    } catch (error) {
      const again = [429, 503].includes(error.status) && error.retryAfter && error.retryAfter <= 30 && attempt < PATIENCE
      if (!again) throw error
      if (shot === state.current) say(`${error.title}. Trying again in ${counted(error.retryAfter, "second")} …`, true)
      await pause(error.retryAfter)
      if (signal.aborted) throw new DOMException("", "AbortError")
    }
  }
}

async function once(shot, model, signal) {
  const path = predictPath(model)
  const begun = performance.now()
  const response = await ask(path + (asksAll(model) ? "?threshold=0" : ""), { body: formOf([shot.file]), signal })
  const answer = (await response.json()).predictions[0]
  const timing = timingOf(response, performance.now() - begun)
  if (shot.picture === undefined) shot.picture = await decoded(shot)
  if (shot.picture === null) shot.drawn = await drawnByServer(shot, path, signal)
  try {
    return { answer, timing, people: await identified(shot.file, signal) }
  } catch (error) {
    if (error.name === "AbortError") throw error
    return { answer, timing, people: null, warning: error } // the faces are shown without names
  }
}

// For formats that the browser can't show, such as TIFF.
async function drawnByServer(shot, path, signal) {
  const response = await ask(`${path}?draw=png`, { body: formOf([shot.file]), signal })
  return URL.createObjectURL(await response.blob())
}

function failed(shot, error) {
  say(`${shot.file.name}: no predictions.`)
  if (error.status === 401) return showToken()
  showFault(error, shot.refused ? null : () => {
    hideFault()
    for (const each of state.shots) if (each.results.get(state.model.name)?.error) each.results.delete(state.model.name)
    work()
  })
}

function showToken() {
  $("access").hidden = false
  $("token").focus()
  if (state.models.length || $("token").value) showFault(new Refusal(401, "The token is wrong, or has been changed."))
}

async function chooseModel(model) {
  working?.abort.abort()
  working = null
  state.model = model
  state.picked = null
  state.hidden.clear()
  const heads = headsOf(model).filter(([, about]) => adjustable(about))
  state.threshold = heads.some(([, about]) => !hasOwn(about)) ? DRAWN : null
  const tasks = new Set(headsOf(model).map(([, about]) => about.task))
  $("about").textContent = [...tasks, model.backbone, model.engine?.engine].filter(Boolean).join(" · ")
  try {
    await showGallery()
  } catch (error) {
    showFault(error)
  }
  render()
  await work()
}

async function start() {
  hideFault()
  try {
    const { models, limits } = await askJson("v1/models")
    state.limits = limits
    // a single model is also served as "default"
    state.models = models.filter(entry => entry.name === entry.model || !models.some(other => other.name === entry.model))
  } catch (error) {
    if (error.status === 401) showToken()
    else showFault(error, start)
    return
  }
  $("access").hidden = true
  $("docs").hidden = Boolean(sessionStorage.getItem(TOKEN)) // links can't send the token
  $("token").value = ""
  $("model").replaceChildren(...state.models.map(model => element("option", { value: model.name }, model.name)))
  if (!state.models.length) return showFault(new Refusal(503, "The models are being loaded."), start)
  await chooseModel(state.models[0])
}

function prepare() {
  $("docs").href = address("docs")
  $("model").addEventListener("change", () => chooseModel(state.models.find(model => model.name === $("model").value)))
  $("access").addEventListener("submit", event => {
    event.preventDefault()
    sessionStorage.setItem(TOKEN, $("token").value.trim())
    for (const shot of state.shots) for (const [name, result] of shot.results) if (result.error) shot.results.delete(name)
    start()
  })
  const move = threshold => {
    state.threshold = threshold
    state.picked = null
    render({ moving: true })
  }
  $("threshold").addEventListener("input", () => move(Number($("threshold").value)))
  $("own").addEventListener("change", () => move($("own").checked ? null : Number($("threshold").value)))
  $("save-json").addEventListener("click", () => {
    const faces = peopleShown()
    const whole = { predictions: [shown()], ...(faces ? { people: faces } : {}) }
    download(`${stem()}.json`, new Blob([JSON.stringify(whole, null, 2)], { type: "application/json" }))
  })
  $("save-picture").addEventListener("click", async () => {
    const { objects, lines } = visible()
    download(`${stem()}-drawn.png`, await drawnFile(state.current.picture, objects, lines))
  })
  $("canvas").addEventListener("click", event => {
    const { width, height } = state.current.picture
    const scale = width / $("canvas").clientWidth
    const { objects } = visible()
    state.picked = objectAt(objects, event.offsetX * scale, Math.min(height, event.offsetY * scale))
    render()
    document.querySelector("[data-picked]")?.scrollIntoView({ block: "nearest" })
  })
  let width = 0
  new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width !== width) requestAnimationFrame(renderPicture)
    width = contentRect.width
  }).observe($("stage"))
  prepareCode()
  prepareGallery()
  prepareInput()
  prepareRecorder()
}

const stem = () => state.current.file.name.replace(/\.[^.]*$/, "")

prepare()
start()
