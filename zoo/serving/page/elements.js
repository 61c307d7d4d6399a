// Building and finding elements. Text from the server is only ever inserted as text.

const $ = id => document.getElementById(id)

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value)
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value)
  }
  made.append(...children)
  return made
}

const counted = (count, noun, plural = `${noun}s`) => `${count} ${count === 1 ? noun : plural}`
const percent = value => `${(value * 100).toFixed(1)} %`
const milliseconds = value => (value < 10 ? value.toFixed(1) : value.toFixed(0)) + " ms"
const pause = seconds => new Promise(done => setTimeout(done, seconds * 1000))

// Okabe and Ito's colours, which are distinguishable with colour blindness; further classes have evenly spaced hues.
const COLOURS = ["#56b4e9", "#e69f00", "#00b184", "#f0e442", "#d55e00", "#cc79a7", "#4f7df9", "#b8e986"]
const colourOf = index => COLOURS[index] ?? `hsl(${Math.round((index * 137.508) % 360)} 75% 70%)`

function dot(colour) {
  const made = element("span", { class: "dot", "aria-hidden": "true" })
  made.style.background = colour
  return made
}

let sayLater = 0
function say(text, busy = false) {
  clearTimeout(sayLater)
  $("status").textContent = text
  $("status").classList.toggle("busy", busy)
}
// While a slider moves, a screen reader would read every step.
function sayWhenStill(text) {
  clearTimeout(sayLater)
  sayLater = setTimeout(() => say(text), 350)
}

// Replace an element's content, and keep the focus on the button with the same `data-key`.
function refill(parent, ...children) {
  const key = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined
  parent.replaceChildren(...children)
  if (key !== undefined) [...parent.querySelectorAll("[data-key]")].find(each => each.dataset.key === key)?.focus()
}

function download(name, blob) {
  const url = URL.createObjectURL(blob)
  element("a", { href: url, download: name }).click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

// Ask a question in a dialog, and return whether the answer is yes.
function confirmed(question, yes) {
  $("ask-text").textContent = question
  $("ask-yes").textContent = yes
  $("ask").returnValue = ""
  $("ask").showModal()
  $("ask-no").focus()
  return new Promise(done => $("ask").addEventListener("close", () => done($("ask").returnValue === "yes"), { once: true }))
}
$("ask-yes").addEventListener("click", () => $("ask").close("yes"))
$("ask-no").addEventListener("click", () => $("ask").close())
