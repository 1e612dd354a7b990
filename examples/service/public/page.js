/** Sends a picture to the service and shows what it says. */
const [drop, picture, input, status, list] = ['drop', 'picture', 'file', 'status', 'classes'].map((id) =>
  document.getElementById(id),
);
const percent = new Intl.NumberFormat('en', { style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1 });
/** Ends the call for the picture before. */
let before = new AbortController();

function say(text, isError = false) {
  status.textContent = text;
  status.classList.toggle('error', isError);
}

function item({ index, name, probability }) {
  const [line, label, value, bar, filled] = ['li', 'span', 'span', 'div', 'div'].map((tag) =>
    document.createElement(tag),
  );
  label.textContent = name ?? `class ${index}`;
  value.textContent = percent.format(probability);
  bar.className = 'bar';
  // The number says it already.
  bar.ariaHidden = 'true';
  filled.style.width = `${100 * probability}%`;
  bar.append(filled);
  line.append(label, ' ', value, bar);
  return line;
}

async function ask(file) {
  before.abort();
  before = new AbortController();
  const { signal } = before;
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(file);
  picture.alt = file.name;
  picture.hidden = false;
  list.hidden = true;
  say(`Looking at ${file.name} …`);
  try {
    const answer = await fetch('predict?top=5', {
      method: 'POST',
      // The bytes say what it is.
      headers: { 'content-type': 'application/octet-stream' },
      body: file,
      signal,
    });
    const { classes, message } = await answer.json();
    if (!answer.ok) throw new Error(message);
    list.replaceChildren(...classes.map(item));
    list.hidden = false;
    const [best] = classes;
    say(`${file.name}: most likely ${best.name ?? `class ${best.index}`}, ${percent.format(best.probability)}.`);
  } catch (error) {
    // Another picture was chosen meanwhile.
    if (signal.aborted) return;
    const reason = error instanceof TypeError ? 'the service could not be reached' : error.message;
    say(`${file.name}: ${reason}.`, true);
  }
}

/** The first file of what was dropped or pasted, if there is one. */
function take(event, { files }) {
  if (files.length === 0) return;
  event.preventDefault();
  // What the field shows is what is asked about.
  input.files = files;
  ask(files[0]);
}

input.addEventListener('change', (event) => take(event, input));
document.addEventListener('paste', (event) => take(event, event.clipboardData));
// A picture that misses the frame must not replace the page.
for (const type of ['dragover', 'drop']) document.addEventListener(type, (event) => event.preventDefault());
document.addEventListener('drop', (event) => take(event, event.dataTransfer));
drop.addEventListener('dragover', () => drop.classList.add('over'));
for (const type of ['dragleave', 'drop']) drop.addEventListener(type, () => drop.classList.remove('over'));
