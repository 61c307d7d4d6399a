// The request that gives the predictions shown, as a program. The token isn't part of it.

const LANGUAGES = { curl: inCurl, Python: inPython, JavaScript: inJavaScript }
let language = "curl"

// Path and form fields of the request.
function requestShown() {
  const threshold = asksAll(state.model) && state.threshold !== null ? `?threshold=${state.threshold}` : ""
  const gallery = galleryOf(state.model)
  const calls = [address(predictPath(state.model)) + threshold]
  const found = resultOf(state.current)?.people
  const distance = byDistance(state.model, found) && state.threshold !== null ? `?threshold=${state.threshold}` : ""
  if (gallery && found) calls.push(address(galleryPath(gallery, "identify")) + distance)
  return { calls, name: state.current.file.name, token: Boolean(sessionStorage.getItem(TOKEN)) }
}

const quoted = text => `'${text.replaceAll("'", "'\\''")}'` // for POSIX shells
// curl reads ; and , in file names as separators unless they are in double quotes
const formField = name => quoted(`files=@"${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`)

function inCurl({ calls, name, token }) {
  const secret = token ? ` \\\n  -H "Authorization: Bearer $ZOO_TOKEN"` : ""
  return calls.map(url => `curl ${quoted(url)}${secret} \\\n  -F ${formField(name)}`).join("\n\n")
}

function inPython({ calls, name, token }) {
  const secret = token ? ', headers={"Authorization": f"Bearer {os.environ[\'ZOO_TOKEN\']}"}' : ""
  const text = JSON.stringify(name)
  return [
    ...(token ? ["import os"] : []), "import requests  # pip install requests", "",
    ...calls.flatMap(url => [
      `with open(${text}, "rb") as file:`,
      `    answer = requests.post(${JSON.stringify(url)}, files={"files": (${text}, file)}${secret}, timeout=60)`,
      "answer.raise_for_status()",
      `for picture in answer.json()["${url.includes("/v1/galleries/") ? "pictures" : "predictions"}"]:`,
      "    print(picture)",
    ]),
  ].join("\n")
}

function inJavaScript({ calls, token }) {
  const secret = token ? ", headers: { Authorization: `Bearer ${token}` }" : ""
  return [
    "// `file` is a File, for example document.querySelector(\"input[type=file]\").files[0]",
    "const body = new FormData()", 'body.append("files", file)',
    ...calls.flatMap((url, index) => [
      `const response${index || ""} = await fetch(${JSON.stringify(url)}, { method: "POST", body${secret} })`,
      `if (!response${index || ""}.ok) throw new Error((await response${index || ""}.json()).error)`,
      `console.log(await response${index || ""}.json())`,
    ]),
  ].join("\n")
}

function renderCode() {
  $("snippet").textContent = LANGUAGES[language](requestShown())
  $("copied").textContent = ""
  for (const tab of $("languages").children) {
    const chosen = tab.textContent === language
    tab.setAttribute("aria-selected", String(chosen))
    tab.tabIndex = chosen ? 0 : -1
    if (chosen) $("snippet").setAttribute("aria-labelledby", tab.id)
  }
}

function prepareCode() {
  const names = Object.keys(LANGUAGES)
  const choose = name => {
    language = name
    renderCode()
  }
  $("languages").replaceChildren(...names.map((name, index) => element(
    "button", { type: "button", role: "tab", id: `tab-${index}`, "aria-controls": "snippet", click: () => choose(name) }, name)))
  $("languages").addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
    if (!step) return
    choose(names[(names.indexOf(language) + step + names.length) % names.length])
    $("languages").querySelector("[aria-selected=true]").focus()
  })
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("snippet").textContent)
      $("copied").textContent = "Copied."
    } catch { // without HTTPS, pages may not write to the clipboard
      getSelection().selectAllChildren($("snippet"))
      $("copied").textContent = document.execCommand("copy") ? "Copied." : "Selected; copy it with the keyboard."
    }
  })
}
