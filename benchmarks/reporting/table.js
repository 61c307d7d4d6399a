// Sort the table by the column whose button is pressed, and show only the rows that contain all words of the filter.
const table = document.querySelector("table.sortable")
const body = table.tBodies[0]
const headings = [...table.tHead.rows[0].cells]
const search = document.querySelector("#filter")
const count = document.querySelector("#count")
const status = document.querySelector("#status")

function value(row, column, numeric) {
  const text = row.cells[column].dataset.value ?? row.cells[column].textContent.trim()
  if (!numeric) return text.toLowerCase()
  return text === "" ? null : Number(text)
}

function compare(a, b, down) {
  // missing values come last in both directions
  if (a === null || b === null) return (a === null) - (b === null)
  const order = typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true })
  return down ? -order : order
}

for (const heading of headings) {
  heading.querySelector("button").addEventListener("click", () => {
    const down = heading.getAttribute("aria-sort") === "ascending"
    for (const other of headings) other.removeAttribute("aria-sort")
    heading.setAttribute("aria-sort", down ? "descending" : "ascending")
    const keyed = [...body.rows].map(row => [value(row, heading.cellIndex, heading.classList.contains("n")), row])
    keyed.sort((a, b) => compare(a[0], b[0], down))
    body.append(...keyed.map(pair => pair[1]))
  })
}

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(word => word)
  let shown = 0
  for (const row of body.rows) {
    const text = row.textContent.toLowerCase()
    row.hidden = !words.every(word => text.includes(word)) || (status.value && row.dataset.status !== status.value)
    shown += !row.hidden
  }
  const hidden = new Set([...body.rows].filter(row => row.hidden).map(row => row.dataset.case))
  for (const point of document.querySelectorAll(".point")) point.classList.toggle("off", hidden.has(point.dataset.case))
  count.textContent = `${shown} of ${body.rows.length} cases`
}

search.addEventListener("input", filter)
status.addEventListener("change", filter)
document.querySelector(".controls").hidden = false
filter()
