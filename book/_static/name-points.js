/* Maps of words: which word a point is, told beside the map. Under a mouse it is the point itself, under a finger the nearest one. */
window.namePoints = function (map, told) {
  "use strict";
  var reach = 24; // px between a finger and a point

  function name(point) {
    var title = point && point.querySelector("title");
    if (title) told.textContent = title.textContent;
  }

  function nearest(x, y) {
    var found = null, least = reach;
    map.querySelectorAll("circle").forEach(function (point) {
      var box = point.getBoundingClientRect();
      var away = Math.hypot(box.x + box.width / 2 - x, box.y + box.height / 2 - y);
      if (away < least) { least = away; found = point; }
    });
    return found;
  }

  map.addEventListener("pointerover", function (event) { if (event.pointerType === "mouse") name(event.target.closest("circle")); });
  map.addEventListener("pointerdown", function (event) { name(nearest(event.clientX, event.clientY)); });
  told.textContent = "Point at a word, or touch the map near it, to read which one it is.";
};
