"use strict";
/* Tables of a page: click on a head to sort, type or choose to filter. Rows stand in the page already. */
(() => {
  const words = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  /* The value of a cell: a number where it says so, else its text; what is missing comes last either way. */
  function valueOf(row, column) {
    const cell = row.cells[column];
    const value = cell.dataset.value;
    if (value === undefined) return cell.textContent.trim() || null;
    return value === "" ? null : Number(value);
  }

  function sort(table, head) {
    const column = head.cellIndex;
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row, place) => ({ row, place, value: valueOf(row, column) }));
    const first = rows.some(({ value }) => typeof value === "number") ? "descending" : "ascending";
    const before = head.getAttribute("aria-sort");
    const rising = before === "none" ? first === "ascending" : before === "descending";
    const sign = rising ? 1 : -1;
    rows.sort((a, b) => {
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.place - b.place;
      const order = typeof a.value === "number" ? a.value - b.value : words.compare(a.value, b.value);
      return sign * order || a.place - b.place;
    });
    body.replaceChildren(...rows.map(({ row }) => row)); // append() of a thousand takes fifteen times as long
    for (const other of table.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  }

  for (const table of document.querySelectorAll("table[data-sortable]")) {
    for (const head of table.tHead.rows[0].cells) {
      if (!("sort" in head.dataset)) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sorter";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
    }
    table.tHead.addEventListener("click", (event) => {
      const button = event.target.closest(".sorter");
      if (button) sort(table, button.parentElement);
    });
  }

  /* Filters: every control names the part of a row that it looks at; a row must please all of them. */
  const bar = document.getElementById("filters");
  if (!bar) return;
  const controls = [...bar.querySelectorAll("[data-filter]")];
  const rows = [...document.querySelectorAll("tr[data-find]")];
  const found = rows.map((row) => row.dataset.find.toLowerCase());
  const told = bar.querySelector("output");
  const empty = document.getElementById("nothing");

  function filter() {
    const wanted = controls
      .filter((control) => control.value.trim())
      .map((control) => [control.dataset.filter, control.value.trim().toLowerCase()]);
    let shown = 0;
    rows.forEach((row, place) => {
      const fits = wanted.every(([part, value]) =>
        part === "find" ? found[place].includes(value) : row.dataset[part].trim().toLowerCase() === value,
      );
      if (row.hidden === fits) row.hidden = !fits;
      shown += fits;
    });
    for (const group of document.querySelectorAll("[data-group]")) {
      group.hidden = !group.querySelector("tr[data-find]:not([hidden])");
    }
    empty.hidden = shown > 0;
    told.textContent = shown === rows.length ? `all ${rows.length}` : `${shown} of ${rows.length}`;
  }

  bar.addEventListener("input", filter);
  bar.querySelector("[type=reset]").addEventListener("click", () => {
    for (const control of controls) control.value = "";
    filter();
  });
  bar.hidden = false;
  filter();
})();
