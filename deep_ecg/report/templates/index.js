"use strict";
(function () {
  const table = document.getElementById("records"), body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const order = ["low", "fair", "high"]; // of grades of trust

  function compare(a, b) {
    if (a === b) return 0;
    if (a === "" || b === "") return a === "" ? 1 : -1; // what is not known comes last
    if (order.includes(a) && order.includes(b)) return order.indexOf(a) - order.indexOf(b);
    return isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
  }

  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const sorted = head.getAttribute("aria-sort"), text = head.classList.contains("left");
    const falling = sorted ? sorted === "ascending" : !text; // numbers: the highest first
    const sign = falling ? -1 : 1, value = (row) => row.cells[column].dataset.v;
    const rows = [...body.rows].sort((a, b) => (value(a) && value(b) ? sign : 1) * compare(value(a), value(b)));
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    body.append(...rows);
  }));

  const filter = document.getElementById("filter"), shown = document.getElementById("shown");
  filter.addEventListener("input", () => {
    let count = 0;
    for (const row of body.rows) {
      row.hidden = !row.cells[0].dataset.v.toLowerCase().includes(filter.value.toLowerCase());
      count += !row.hidden;
    }
    shown.textContent = filter.value ? count + " of " + body.rows.length : "";
  });
})();
