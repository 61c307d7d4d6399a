// Requests to the server, and its refusals in words.

// With --root-path, the address in the browser may lack the slash at its end.
const ROOT = document.documentElement.dataset.root
const BASE = ROOT ? `${location.origin}${ROOT}/` : new URL(".", location).href
const address = path => new URL(path, BASE).href
const TOKEN = "zoo-token" // in sessionStorage, which belongs to this tab and ends with it

class Refusal extends Error {
  constructor(status, message, { retryAfter = null, faults = [] } = {}) {
    super(/[.!?]$/.test(message) ? message : `${message}.`)
    Object.assign(this, { status, retryAfter, faults })
  }

  get title() {
    const titles = {
      0: "The server can't be reached", 401: "A token is needed", 403: "The server refuses requests of this page",
      408: "The picture arrived too slowly", 413: "The picture is too large", 415: "This isn't a picture",
      421: "The server isn't known by this name", 422: "The server can't use this", 429: "The server is busy",
      503: "The server isn't ready",
    }
    if (this.faults.length) return counted(this.faults.length, "picture") + " can't be used"
    return titles[this.status] ?? `The server answered with status ${this.status}`
  }
}

async function ask(path, { body, signal } = {}) {
  const token = sessionStorage.getItem(TOKEN)
  const headers = token ? { Authorization: `Bearer ${token}` } : {}
  let response
  try {
    response = await fetch(address(path), { method: body ? "POST" : "GET", body, headers, signal, credentials: "same-origin" })
  } catch (error) {
    if (error.name === "AbortError") throw error
    throw new Refusal(0, "The connection failed. Check that the server is running and that this device is online.")
  }
  if (response.ok) return response
  if (response.status === 401) {
    $("access").hidden = false
    sessionStorage.removeItem(TOKEN)
  }
  throw await refusalOf(response)
}

async function refusalOf(response) {
  let answer = {}
  try {
    answer = await response.json()
  } catch { /* a proxy's page, not the server's answer */ }
  const seconds = Number(response.headers.get("retry-after")) || null
  const words = typeof answer.error === "string" ? answer.error : typeof answer.detail === "string" ? answer.detail : response.statusText
  return new Refusal(response.status, words, { retryAfter: seconds, faults: Array.isArray(answer.faults) ? answer.faults : [] })
}

const askJson = async (path, options) => (await ask(path, options)).json()

function formOf(files, values = {}) {
  const form = new FormData()
  for (const file of files) form.append("files", file, file.name)
  for (const [name, value] of Object.entries(values)) form.append(name, value)
  return form
}

// Milliseconds of each stage: the header `Server-Timing`, and what is left of the total for the network.
function timingOf(response, total) {
  const stages = {}
  for (const part of (response.headers.get("server-timing") ?? "").split(",")) {
    const [name, value] = part.trim().split(";dur=")
    if (value !== undefined && Number.isFinite(Number(value))) stages[name] = Number(value)
  }
  const known = Object.values(stages).reduce((sum, value) => sum + value, 0)
  return { total, stages: known ? { network: Math.max(0, total - known), ...stages } : {} }
}

function showFault(error, again) {
  const wait = error.retryAfter ? ` It asks to wait ${counted(error.retryAfter, "second")}.` : ""
  const retry = again ? [element("button", { type: "button", click: again }, "Try again")] : []
  const title = element("b", {}, error.title ?? "The page has a defect")
  $("fault").replaceChildren(title, element("div", {}, `${error.message}${wait}`), ...retry)
  $("fault").hidden = false
  $("fault").scrollIntoView({ block: "nearest" })
}

function hideFault() {
  $("fault").hidden = true
  $("fault").replaceChildren()
}
