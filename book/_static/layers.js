/* The map of layers: words as points, a slider from layer to layer, colours for concepts or for anchors. Its data stand in the page. */
(function () {
  "use strict";

  function make(tag, options, children) {
    var element = Object.assign(document.createElement(tag), options || {});
    element.append.apply(element, children || []);
    return element;
  }

  function LayerMap(root) {
    var data = JSON.parse(root.querySelector("script.layers-data").textContent);
    var side = 360, space = "http://www.w3.org/2000/svg";
    var rows = Object.keys(data.rows);
    var drawing = document.createElementNS(space, "svg");
    drawing.setAttribute("viewBox", "-8 -8 " + (side + 16) + " " + (side + 16));
    drawing.setAttribute("role", "img");

    var choice = make("select", {}, rows.map(function (name) { return new Option(name, name); }));
    var slider = make("input", { type: "range", min: 0, step: 1, value: 0 });
    var told = make("output");
    var by = ["concept", "anchor"].map(function (kind) {
      return make("input", { type: "radio", name: "layers-by", value: kind, checked: kind === "concept" });
    });
    var legend = make("ul", { className: "layers-legend" });
    var word = make("output", { className: "explorer-word" });
    var held = -1; // the name in the legend that stays lifted

    function kind() { return by[0].checked ? "concept" : "anchor"; }

    function points() {
      var row = data.rows[choice.value];
      drawing.replaceChildren.apply(drawing, row.words.map(function (word) {
        var point = document.createElementNS(space, "circle"), title = document.createElementNS(space, "title");
        title.textContent = data.concepts[word[0]] + " from " + data.anchors[word[1]];
        point.setAttribute("r", 5);
        point.append(title);
        return point;
      }));
      slider.max = row.layers.length - 1;
      slider.value = Math.min(Number(slider.value), row.layers.length - 1);
    }

    function names() { return kind() === "concept" ? data.concepts : data.anchors; }

    function show() {
      var row = data.rows[choice.value], layer = row.layers[Number(slider.value)];
      Array.from(drawing.children).forEach(function (point, place) {
        point.style.transform = "translate(" + row.at[slider.value][2 * place] * side / data.scale + "px," + (side - row.at[slider.value][2 * place + 1] * side / data.scale) + "px)";
        point.setAttribute("fill", data.colours[row.words[place][kind() === "concept" ? 0 : 1] % data.colours.length]);
      });
      told.textContent = "layer " + layer;
      slider.setAttribute("aria-valuetext", "layer " + layer);
      drawing.setAttribute("aria-label", "words at layer " + layer + ", coloured by " + kind());
      legend.replaceChildren.apply(legend, names().map(function (name, place) {
        var dot = make("span");
        dot.style.background = data.colours[place % data.colours.length];
        var button = make("button", { type: "button" }, [dot, name]);
        button.setAttribute("aria-pressed", place === held);
        button.addEventListener("click", function () { hold(place === held ? -1 : place); });
        ["pointerenter", "focus"].forEach(function (kind) { button.addEventListener(kind, function () { lift(place); }); });
        ["pointerleave", "blur"].forEach(function (kind) { button.addEventListener(kind, function () { lift(held); }); });
        return make("li", {}, [button]);
      }));
      lift(held);
    }

    function hold(chosen) {
      held = chosen;
      legend.querySelectorAll("button").forEach(function (button, place) { button.setAttribute("aria-pressed", place === held); });
      lift(held);
    }

    /* A name in the legend that is pointed at, has the focus or was pressed fades all words but its own. */
    function lift(chosen) {
      Array.from(drawing.children).forEach(function (point, place) {
        var own = data.rows[choice.value].words[place][kind() === "concept" ? 0 : 1];
        point.classList.toggle("faded", chosen >= 0 && own !== chosen);
      });
    }

    choice.addEventListener("change", function () { points(); show(); });
    slider.addEventListener("input", show);
    by.forEach(function (button) { button.addEventListener("change", function () { held = -1; show(); }); });
    root.append(
      make("div", { className: "explorer-choices" }, [
        make("label", {}, ["words ", choice]),
        make("label", {}, ["layer ", slider, " ", told]),
        make("fieldset", {}, [make("legend", { textContent: "coloured by" }), make("label", {}, [by[0], " concept"]), make("label", {}, [by[1], " anchor"])])
      ]),
      word,
      make("div", { className: "layers-map" }, [drawing, legend])
    );
    namePoints(drawing, word);
    points();
    show();
  }

  function start() { document.querySelectorAll(".layers").forEach(LayerMap); }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
