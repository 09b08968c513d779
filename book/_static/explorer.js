/* The explorer: a grid of pictures, one for each word of the study, and all that is known of the chosen one. Its data stand in the page. */
(function () {
  "use strict";

  function make(tag, options, children) {
    var element = document.createElement(tag);
    Object.entries(options || {}).forEach(function (entry) {
      if (entry[0] in element && entry[0] !== "list") element[entry[0]] = entry[1];
      else element.setAttribute(entry[0], entry[1]);
    });
    element.append.apply(element, children || []);
    return element;
  }

  function svg(tag, options, title) {
    var element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(options).forEach(function (entry) { element.setAttribute(entry[0], entry[1]); });
    if (title) {
      var label = document.createElementNS("http://www.w3.org/2000/svg", "title");
      label.textContent = title;
      element.append(label);
    }
    return element;
  }

  function Explorer(root) {
    var data = JSON.parse(root.querySelector("script.explorer-data").textContent);
    var folder = root.dataset.folder + "/";
    var free = data.deltas.length - 1;
    var chosen = fromAddress() || { dataset: Object.keys(data.datasets)[0], task: data.tasks[0], delta: free, row: 0, column: 1 };
    var parts = {};

    function nameOf(place) { return data.deltas[place] === null ? "free" : String(data.deltas[place]); }
    function set() { return data.datasets[chosen.dataset]; }
    function group() { return data.groups[chosen.dataset + "-" + chosen.task + "-" + nameOf(chosen.delta)]; }
    function cell() { return chosen.row * set().anchors.length + chosen.column; }

    /* The address says what is shown, so that a view can be kept and sent: #COCO/generation/0.5/donut/bear */
    function fromAddress() {
      var words;
      try { words = decodeURIComponent(location.hash.slice(1)).split("/"); } catch (error) { return null; } // a stray %
      var found = data.datasets[words[0]];
      if (!found || words.length !== 5) return null;
      var delta = data.deltas.findIndex(function (value, place) { return nameOf(place) === words[2]; });
      var row = found.concepts.indexOf(words[3]), column = found.anchors.indexOf(words[4]);
      if (delta < 0 || row < 0 || column < 0 || !data.tasks.includes(words[1])) return null;
      return { dataset: words[0], task: words[1], delta: delta, row: row, column: column };
    }

    function toAddress() {
      var words = [chosen.dataset, chosen.task, nameOf(chosen.delta), set().concepts[chosen.row], set().anchors[chosen.column]];
      history.replaceState(null, "", "#" + words.map(encodeURIComponent).join("/"));
    }

    /* A square of a sheet, as the background of an element that is `side` px wide. */
    function square(element, file, column, row, columns, side) {
      element.style.backgroundImage = "url('" + folder + file + "')";
      element.style.backgroundSize = columns * side + "px auto";
      element.style.backgroundPosition = -column * side + "px " + -row * side + "px";
    }

    function makeChoices() {
      var datasets = make("select", { id: "explorer-dataset" }, Object.keys(data.datasets).map(function (name) { return new Option(name, name); }));
      datasets.addEventListener("change", function () { chosen.dataset = datasets.value; chosen.row = 0; chosen.column = Math.min(1, set().anchors.length - 1); show(true); });
      var radius = make("input", { type: "range", id: "explorer-delta", min: 0, max: free, step: 1 });
      radius.addEventListener("input", function () { chosen.delta = Number(radius.value); show(true); });
      var told = make("output", { htmlFor: "explorer-delta" });
      var tasks = make("fieldset", {}, [make("legend", { textContent: "words learned for" })]);
      data.tasks.forEach(function (task) {
        var button = make("input", { type: "radio", name: "explorer-task", value: task });
        button.addEventListener("change", function () { chosen.task = task; show(true); });
        tasks.append(make("label", {}, [button, " " + task]));
      });
      parts.datasets = datasets; parts.radius = radius; parts.told = told; parts.tasks = tasks;
      return make("div", { className: "explorer-choices" }, [
        tasks,
        make("label", { htmlFor: "explorer-dataset" }, ["dataset ", datasets]),
        make("label", { htmlFor: "explorer-delta" }, ["radius ", radius, " ", told])
      ]);
    }

    /* One button for each word; a single one can be reached by Tab, the others from it by the arrow keys. */
    function makeGrid() {
      var here = set();
      var head = make("tr", {}, [make("td")].concat(here.anchors.map(function (anchor) { return make("th", { scope: "col" }, [make("span", { textContent: anchor })]); })));
      var body = here.concepts.map(function (concept, row) {
        return make("tr", {}, [make("th", { scope: "row", textContent: concept })].concat(here.anchors.map(function (anchor, column) {
          var button = make("button", { type: "button" });
          button.addEventListener("click", function () { choose(row, column); });
          return make("td", {}, [button]);
        })));
      });
      parts.grid.replaceChildren(make("table", { "aria-label": "pictures drawn with learned words" }, [make("thead", {}, [head]), make("tbody", {}, body)]));
      parts.of = chosen.dataset;
    }

    function choose(row, column) {
      chosen.row = row;
      chosen.column = column;
      show(false);
    }

    function move(event) {
      var steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      var step = steps[event.key];
      if (!step || event.target.tagName !== "BUTTON") return;
      event.preventDefault();
      var rows = set().concepts.length, columns = set().anchors.length;
      choose((chosen.row + step[0] + rows) % rows, (chosen.column + step[1] + columns) % columns);
      parts.grid.querySelectorAll("button")[cell()].focus();
    }

    function showGrid() {
      var here = set(), words = group(), columns = here.anchors.length;
      parts.grid.querySelectorAll("button").forEach(function (button, place) {
        var row = Math.floor(place / columns), column = place % columns, named = words.named[place];
        square(button, words.sheet, column, row, columns, button.offsetWidth);
        button.tabIndex = place === cell() ? 0 : -1;
        button.setAttribute("aria-pressed", place === cell());
        button.classList.toggle("right", named === row);
        button.setAttribute("aria-label", here.concepts[row] + " from " + here.anchors[column] + ", drawn as " + nameAt(named));
      });
    }

    function picture(file, column, row, columns, name, caption) {
      var image = make("div", { className: "explorer-picture", role: "img", "aria-label": name });
      square(image, file, column, row, columns, 96);
      return make("figure", {}, [image, make("figcaption", { textContent: caption })]);
    }

    /* A concept by its place; -1 stands for a word that diverged, -2 for any other name. */
    function nameAt(place) { return place === -1 ? "nothing" : place === -2 ? "another concept" : set().concepts[place]; }
    function judged(place) { return place === -1 ? "diverged" : "judge: " + nameAt(place); }

    function showPictures() {
      var here = set(), words = group(), columns = here.anchors.length;
      var concept = here.concepts[chosen.row], anchor = here.anchors[chosen.column], named = words.named[cell()];
      parts.pictures.replaceChildren(
        picture(here.anchor.sheet, chosen.column, 0, columns, "drawn with the anchor word " + anchor, "anchor " + anchor + "; " + judged(here.anchor.named[chosen.column])),
        picture(words.sheet, chosen.column, chosen.row, columns, "drawn with the learned word", "learned word; " + judged(named)),
        picture(here.name.sheet, 0, chosen.row, 1, "drawn with the name " + concept, "its own name; " + judged(here.name.named[chosen.row])),
        boxes()
      );
    }

    function boxes() {
      var here = set(), side = 96, scale = side / data.scale, box = group().boxes[cell()];
      var image = make("div", { className: "explorer-picture" });
      square(image, here.tests, chosen.row, 0, here.concepts.length, side);
      var drawing = svg("svg", { viewBox: "0 0 " + side + " " + side, role: "img", "aria-label": "a test image of " + here.concepts[chosen.row] + " with true boxes, dashed, and the box found" });
      function frame(edges, look) {
        drawing.append(svg("rect", Object.assign({ x: edges[0] * scale, y: edges[1] * scale, width: (edges[2] - edges[0]) * scale, height: (edges[3] - edges[1]) * scale, fill: "none" }, look)));
      }
      here.truth[chosen.row].forEach(function (edges) {
        frame(edges, { stroke: "white", "stroke-width": 3 });
        frame(edges, { stroke: "#222222", "stroke-width": 1.5, "stroke-dasharray": "4 3" });
      });
      if (box.length) frame(box, { stroke: data.colours.detection, "stroke-width": 2.5 });
      image.append(drawing);
      return make("figure", {}, [image, make("figcaption", { textContent: box.length ? "found by the detector, score " + (box[4] / 100).toFixed(2) + "; true boxes dashed" : "diverged" })]);
    }

    function text(value) { return value === null || value === undefined ? "–" : value.toFixed(2); }

    function showScores() {
      var here = set();
      var rows = data.tasks.map(function (task) {
        var value = group().scores[task][cell()], floor = here.anchor.scores[task][cell()], ceiling = here.name.scores[task][cell()];
        var bar = make("div", { className: "explorer-bar" });
        function mark(kind, share) {
          if (share === null || share === undefined) return;
          var part = make("span", { className: kind });
          part.style[kind === "value" ? "width" : "left"] = 100 * share + "%";
          if (kind === "value") part.style.background = data.colours[task];
          bar.append(part);
        }
        mark("value", value); mark("floor", floor); mark("ceiling", ceiling);
        var head = task + (task === chosen.task ? " (own task)" : " (mapped)");
        return make("tr", {}, [make("th", { scope: "row", textContent: head }), make("td", {}, [bar]), make("td", { textContent: text(value) }), make("td", { textContent: text(floor) }), make("td", { textContent: text(ceiling) })]);
      });
      var heads = ["scored on", "", "word", "anchor", "name"].map(function (name) { return name ? make("th", { scope: "col", textContent: name }) : make("td"); });
      parts.scores.replaceChildren(make("thead", {}, [make("tr", {}, heads)]), make("tbody", {}, rows));
    }

    function showMap() {
      var here = set(), found = data.maps[chosen.task], at = group().at[cell()], side = 300, scale = side / data.scale;
      var drawing = svg("svg", { viewBox: "-8 -8 " + (side + 16) + " " + (side + 16), role: "img", "aria-label": "map of the words of the model for " + chosen.task });
      function point(x, y, look, title) { drawing.append(svg("circle", Object.assign({ cx: x * scale, cy: side - y * scale, r: 2.5 }, look), title)); }
      found.words.forEach(function (word, place) { point(found.at[2 * place], found.at[2 * place + 1], { class: "word" }, word); });
      [["anchor", here.anchors[chosen.column], 6], ["name", here.own[chosen.row], 6]].forEach(function (entry) {
        var place = found.words.indexOf(entry[1]);
        if (place < 0) return;
        var x = found.at[2 * place], y = found.at[2 * place + 1];
        point(x, y, { class: entry[0], r: entry[2] }, entry[1]);
        var label = svg("text", { x: x * scale + (x > data.scale / 2 ? -9 : 9), y: side - y * scale + 4, "text-anchor": x > data.scale / 2 ? "end" : "start" });
        label.textContent = entry[1];
        drawing.append(label);
      });
      for (var place = 0; place < at.length; place += 2) point(at[place], at[place + 1], { class: "learned", r: 5, fill: data.colours[chosen.task] }, "vector " + (place / 2 + 1) + " of the learned word");
      parts.map.replaceChildren(drawing);
      parts.caption.textContent = "Words of this model in the plane of its two principal components (" + Math.round(100 * found.share) + " % of the variance). Large: the learned word's vectors; ringed: anchor and the concept's own word.";
    }

    function showText() {
      var here = set(), words = group(), nearest = words.nearest[cell()].map(function (place) { return data.maps[chosen.task].words[place]; });
      var concept = here.concepts[chosen.row], anchor = here.anchors[chosen.column], moved = words.moved[cell()];
      var radius = data.deltas[chosen.delta] === null ? "without constraint" : "within δ = " + data.deltas[chosen.delta];
      parts.title.textContent = concept + ", learned from " + anchor + " for " + chosen.task + ", " + radius;
      parts.text.textContent = moved === null ? "This word diverged." : "Its vectors lie " + moved.toFixed(2) + " neighbour distances from the anchor (median). Their nearest words: " + nearest.join(", ") + ".";
      parts.told.textContent = data.deltas[chosen.delta] === null ? "no limit" : "δ = " + data.deltas[chosen.delta];
      parts.radius.setAttribute("aria-valuetext", parts.told.textContent);
    }

    function show(whole) {
      if (parts.of !== chosen.dataset) makeGrid();
      parts.datasets.value = chosen.dataset;
      parts.radius.value = chosen.delta;
      parts.tasks.querySelectorAll("input").forEach(function (button) { button.checked = button.value === chosen.task; });
      if (whole) parts.grid.scrollLeft = 0;
      showGrid();
      showText();
      showPictures();
      showScores();
      showMap();
      toAddress();
    }

    function start() {
      parts.grid = make("div", { className: "explorer-grid" });
      parts.grid.addEventListener("keydown", move);
      parts.title = make("p", { className: "explorer-title", role: "status" });
      parts.pictures = make("div", { className: "explorer-pictures" });
      parts.scores = make("table", { className: "explorer-scores" });
      parts.text = make("p");
      parts.map = make("div", { className: "explorer-map" });
      parts.word = make("output", { className: "explorer-word" });
      namePoints(parts.map, parts.word);
      parts.caption = make("p", { className: "explorer-caption" });
      root.append(
        makeChoices(),
        parts.grid,
        make("p", { className: "explorer-caption", textContent: "Concepts downwards, anchor words across. In a thick frame: pictures that the judge calls the concept." }),
        make("div", { className: "explorer-detail" }, [
          parts.title,
          parts.pictures,
          make("div", { className: "explorer-columns" }, [make("div", {}, [parts.scores, parts.text]), make("div", {}, [parts.map, parts.word, parts.caption])])
        ])
      );
      addEventListener("resize", showGrid);
      addEventListener("hashchange", function () { chosen = fromAddress() || chosen; show(true); });
      show(true);
    }

    start();
  }

  function start() { document.querySelectorAll(".explorer").forEach(function (root) { Explorer(root); }); }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
