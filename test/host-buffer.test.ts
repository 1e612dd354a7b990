import test from 'ava';
import { openDevice } from '../lib/index.js';
import { eachDevice } from './support/devices.js';

eachDevice(test, 'tensors are written from a buffer of the host, whole and in part', async (t, device, random) => {
  const size = 3 + random.below(5000);
  const pixels = device.hostBuffer(size);
  t.true(pixels instanceof Uint8Array);
  t.is(pixels.length, size);
  t.true(pixels.every((value) => value === 0));
  const from = 1 + random.below(size - 2);
  const whole = device.zeros([size], { dtype: 'uint8' });
  const part = device.zeros([size - from], { dtype: 'uint8' });
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < size; i++) pixels[i] = random.below(256);
    const values = pixels.slice();
    whole.write(pixels);
    part.write(pixels.subarray(from));
    await device.synchronize();
    pixels.fill(7);
    t.deepEqual(await whole.data(), values);
    t.deepEqual(await part.data(), values.subarray(from));
  }
  for (const tensor of [whole, part]) tensor.dispose();
});

eachDevice(test, 'one device writes from the buffer of another', async (t, device, random) => {
  using other = openDevice('cpu', { threads: 1 });
  const pixels = other.hostBuffer(100);
  for (let i = 0; i < 100; i++) pixels[i] = random.below(256);
  using tensor = device.zeros([100], { dtype: 'uint8' });
  tensor.write(pixels);
  t.deepEqual(await tensor.data(), pixels.slice());
});

eachDevice(test, 'values of other types may lie in a buffer, too', async (t, device) => {
  const { buffer } = device.hostBuffer(4 * 48);
  const floats = new Float32Array(buffer).map((_, i) => i / 3);
  new Float32Array(buffer).set(floats);
  for (const format of ['plain', 'activation', 'filter'] as const) {
    using tensor = device.zeros([2, 3, 2, 4], { format });
    tensor.write(new Float32Array(buffer));
    t.deepEqual(await tensor.data(), floats, format);
  }
});

test('a buffer stays when its device has gone, and what it is refused for is said', async (t) => {
  const device = openDevice('cpu', { threads: 1 });
  const pixels = device.hostBuffer(10).fill(3);
  for (const bytes of [0, -1, 1.5, Number.NaN, 2 ** 53, '10', undefined]) {
    t.throws(() => device.hostBuffer(bytes as number), {
      code: 'INVALID_ARGUMENT',
      message: /hostBuffer: bytes must be a whole number from 1 to \d+, got /,
    } as object);
  }
  const tensor = device.zeros([9], { dtype: 'uint8' });
  t.throws(() => tensor.write(pixels), { code: 'SHAPE_MISMATCH', message: /write: values must hold 9/ } as object);
  await device.dispose();
  t.is(pixels.join(), Array(10).fill(3).join());
  t.throws(() => device.hostBuffer(1), { code: 'DISPOSED' } as object);
});
