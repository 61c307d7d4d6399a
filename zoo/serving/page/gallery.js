// Galleries of faces: names of the faces in the picture, enrolment and forgetting.

let people = []

// Name of the gallery in use; null if the model has none.
function galleryOf(model) {
  const names = model?.services?.galleries ?? []
  return names.includes($("gallery-name").value) ? $("gallery-name").value : names[0] ?? null
}
const galleryPath = (name, action) => `v1/galleries/${encodeURIComponent(name)}/${action}`

// The gallery's answers about the faces of a picture, in the same order; null without a gallery, or while nobody is enrolled.
async function identified(file, signal) {
  const name = galleryOf(state.model)
  if (!name || !people.length) return null
  const answer = await askJson(galleryPath(name, "identify"), { body: formOf([file]), signal })
  return answer.pictures[0].faces
}

async function showGallery() {
  const names = state.model?.services?.galleries ?? []
  $("gallery").hidden = !names.length
  $("gallery-choice").hidden = names.length < 2
  const chosen = galleryOf(state.model)
  $("gallery-name").replaceChildren(...names.map(name => element("option", { value: name, selected: name === chosen }, name)))
  $("gallery-status").textContent = ""
  people = []
  if (!names.length) return
  people = (await askJson(galleryPath(chosen, "people"))).people
  renderPeople()
}

function renderPeople() {
  const rows = people.map(person => {
    const { name, faces } = person
    const words = { type: "button", class: "danger", "data-key": name, "aria-label": `Forget ${name}`, click: () => forget(name) }
    return element("li", {}, `${name} (${counted(faces, "face")})`, element("button", words, "Forget"))
  })
  refill($("people"), ...(rows.length ? rows : [element("li", { class: "soft" }, "Nobody is enrolled.")]))
}

// After a change, names of faces are asked for again.
async function changed(text) {
  working?.abort.abort()
  working = null
  await showGallery()
  $("gallery-status").textContent = text
  for (const shot of state.shots) shot.results.delete(state.model.name)
  await work()
}

async function forget(name) {
  if (!(await confirmed(`Forget ${name}? All faces of this person are deleted.`, "Forget"))) return
  try {
    const answer = await askJson(galleryPath(galleryOf(state.model), "forget"), { body: new URLSearchParams({ name }) })
    hideFault()
    await changed(`${name} is forgotten (${counted(answer.forgotten, "face")}).`)
    $("person").focus()
  } catch (error) {
    showFault(error)
  }
}

async function enrol(event) {
  event.preventDefault()
  const files = ($("enrol-all").checked ? state.shots : state.current ? [state.current] : []).map(shot => shot.file)
  if (!files.length) {
    $("gallery-status").textContent = "Choose a picture of the person first."
    return
  }
  const name = $("person").value.trim()
  const values = { name, add: $("enrol-add").checked, force: $("enrol-force").checked }
  $("gallery-status").textContent = `Enrolling ${name} …`
  try {
    const answer = await askJson(galleryPath(galleryOf(state.model), "enrol"), { body: formOf(files, values) })
    hideFault()
    $("enrol").reset()
    await changed(`${name} is enrolled with ${counted(answer.enrolled, "face")}.`)
  } catch (error) {
    $("gallery-status").textContent = `${name} wasn't enrolled.`
    showFault(error)
  }
}

function prepareGallery() {
  $("enrol").addEventListener("submit", enrol)
  $("gallery-name").addEventListener("change", () => changed(""))
}
