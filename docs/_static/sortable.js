/* Tables of class "sortable": a click on a head sorts by its column, a second one the other way round;
   the field above keeps the rows that contain all its words. Cells sort by data-value where they have one;
   those without a number stand at the end. */
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const key = (row, column) => {
      const cell = row.cells[column];
      return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
    };
    const compare = (a, b) => typeof a === "number" ? (isNaN(a) ? 1 : isNaN(b) ? -1 : a - b) : a.localeCompare(b);
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const sort = () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const missing = (row) => Number.isNaN(key(row, column));
        const rows = [...body.rows].sort((a, b) => {
          const found = compare(key(a, column), key(b, column));
          return down && !missing(a) && !missing(b) ? -found : found;
        });
        body.append(...rows);
      };
      head.tabIndex = 0;
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
    });
    const field = document.createElement("input");
    field.type = "search";
    field.placeholder = "keep rows with these words, e.g. gelu logistic";
    field.setAttribute("aria-label", field.placeholder);
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/);
      for (const row of body.rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    });
    table.closest(".sortable-frame").before(field);
  }
});
