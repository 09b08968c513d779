/* On a first visit no theme has been chosen, which the book's theme takes for an error: take the reader's own, before anything is drawn. */
(function () {
  "use strict";
  var chosen = document.documentElement.dataset;
  chosen.mode = chosen.mode || "auto";
  chosen.theme = chosen.theme || (window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
})();
