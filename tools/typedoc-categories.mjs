/**
 * Sorts the API reference: the category of a public name follows from its file, so that no comment has to say it. One
 * that no rule knows is an error.
 */
import { Comment, CommentTag, Converter } from 'typedoc';

/** Categories by `file#name`, the file relative to lib; the first rule that fits decides. */
const rules = [
  ['Namespaces', /\/index\.ts#(data|kalman|nn|optim|train)$/],
  ['Devices', /^(device|program)\.ts#|#(Device|ProfileEntry|MemoryStats|Precision)$/],
  ['Tensors', /^(tensor|nested|autograd|scope|state|addon\/contract)\.ts#/],
  ['Random numbers', /^(device-)?random\.ts#/],
  ['Errors', /^errors\.ts#/],
  ['Kalman', /^(kalman|ops|nn|models)\/.*(kalman|belief|predict\.|filtered|unknown)/i],
  ['Losses', /^ops\/loss\.ts#/],
  ['Operations', /^ops\//],
  ['Model files', /^nn\/spec\.ts#|^nn\/module\.ts#(ModuleSpec|SpecValue)$|^io\/(model|safetensors)|^export\//],
  ['Layers', /^nn\//],
  ['Networks', /^models\//],
  ['Optimizers', /^optim\//],
  ['Data', /^data\/|^io\/decode-crop/],
  ['Training', /^(train|distributed)\/|^io\/checkpoint\.ts#/],
  ['Serving', /^serve\//],
];

/** @param {import('typedoc').Application} app */
export function load(app) {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const reflection of project.children ?? []) {
      const target = reflection.isReference() ? reflection.getTargetReflectionDeep() : reflection;
      const file = project.getSymbolIdFromReflection(target)?.packagePath ?? '';
      const place = `${file.replace(/^lib\//, '')}#${reflection.name}`;
      const [category] = rules.find(([, rule]) => rule.test(place)) ?? [];
      if (!category) app.logger.error(`${place} has no category: give it a rule in tools/typedoc-categories.mjs`);
      reflection.comment ??= new Comment();
      reflection.comment.blockTags.push(new CommentTag('@category', [{ kind: 'text', text: category ?? 'Other' }]));
    }
    // A page is called by its heading, which isn't needed a second time.
    for (const page of project.documents ?? []) {
      const [heading] = page.content;
      const [line = '', title] = /^# (.*)\n/.exec(heading?.text ?? '') ?? [];
      if (title === undefined) continue;
      page.name = title;
      heading.text = heading.text.slice(line.length);
    }
  });
}
