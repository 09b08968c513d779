/* The ledger: a search field, two lists to choose from, and column heads that sort. Without this script it is a plain table. */
(function () {
  "use strict";

  function key(row, column) {
    var cell = row.cells[column];
    var text = cell.dataset.order !== undefined ? cell.dataset.order : cell.textContent.trim();
    var number = parseFloat(text);
    return { text: text, number: text === "" || isNaN(number) ? null : number };
  }

  // Rows without a number come last, whichever way the others stand.
  function compare(one, other, sign) {
    if (one.number !== null && other.number !== null) return sign * (one.number - other.number);
    if (one.number !== null || other.number !== null) return one.number !== null ? -1 : 1;
    return sign * one.text.localeCompare(other.text);
  }

  function sortBy(table, column, sign) {
    var body = table.tBodies[0];
    Array.from(body.rows)
      .map(function (row) { return { row: row, key: key(row, column) }; })
      .sort(function (one, other) { return compare(one.key, other.key, sign); })
      .forEach(function (entry) { body.appendChild(entry.row); });
    Array.from(table.tHead.rows[0].cells).forEach(function (head, place) {
      if (place === column) head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
  }

  function makeSortable(table) {
    Array.from(table.tHead.rows[0].cells).forEach(function (head, column) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.title = "sort by " + head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", function () {
        sortBy(table, column, head.getAttribute("aria-sort") === "ascending" ? -1 : 1);
      });
    });
  }

  // What is told of the rule, of single cases and of the first edition is left out of the search.
  function searched(row) {
    var copy = row.cloneNode(true);
    copy.querySelectorAll("details, .edition").forEach(function (part) { part.remove(); });
    return (copy.textContent + " " + row.dataset.scope).toLowerCase();
  }

  function makeList(rows, name, called) {
    var list = document.createElement("select");
    list.setAttribute("aria-label", called);
    list.add(new Option(called, ""));
    Array.from(new Set(rows.map(function (row) { return row.dataset[name]; }))).forEach(function (value) { list.add(new Option(value, value)); });
    return list;
  }

  function makeSearchable(table) {
    var rows = Array.from(table.tBodies[0].rows);
    var texts = new Map(rows.map(function (row) { return [row, searched(row)]; }));
    var field = document.createElement("input");
    field.type = "search";
    field.placeholder = "search the claims";
    field.setAttribute("aria-label", "search the claims");
    var verdicts = makeList(rows, "verdict", "every verdict");
    var scopes = makeList(rows, "scope", "decided by anything");
    var count = document.createElement("span");
    count.setAttribute("role", "status");

    function update() {
      var words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach(function (row) {
        var found = words.every(function (word) { return texts.get(row).includes(word); });
        row.hidden = !(found && (!verdicts.value || row.dataset.verdict === verdicts.value) && (!scopes.value || row.dataset.scope === scopes.value));
      });
      count.textContent = rows.filter(function (row) { return !row.hidden; }).length + " of " + rows.length + " claims";
    }

    var bar = document.createElement("div");
    bar.className = "ledger-search";
    bar.append(field, verdicts, scopes, count);
    table.before(bar);
    field.addEventListener("input", update);
    verdicts.addEventListener("change", update);
    scopes.addEventListener("change", update);
    update();
  }

  function start() {
    document.querySelectorAll("table.ledger").forEach(function (table) {
      makeSortable(table);
      makeSearchable(table);
      sortBy(table, 0, 1);
    });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
