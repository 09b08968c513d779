/* A click on a picture that a chapter shows opens it in its own size. */
(function () {
  "use strict";

  function start() {
    document.querySelectorAll(".bd-content img.dark-light").forEach(function (image) {
      if (image.closest("a")) return;
      var link = document.createElement("a");
      link.href = image.src;
      link.className = "open-large";
      link.title = "open large";
      image.replaceWith(link);
      link.append(image);
    });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
