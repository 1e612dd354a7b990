/**
 * ava's command line. The TAP reporter of ava 7.0.0 dies of a TypeError where it should name the tests that a time-out
 * or a `process.exit()` left unfinished; here it names them.
 */

import { relative } from 'node:path';
import run from '../node_modules/ava/lib/cli.js';
import TapReporter from '../node_modules/ava/lib/reporters/tap.js';

/** Every unfinished test as failed. */
function writePending(reporter, pendingTests, why) {
  for (const [testFile, titles] of pendingTests) {
    for (const title of titles) {
      const err = { type: 'unknown', formattedError: `${why} (${relative(process.cwd(), testFile)})` };
      reporter.writeTest({ testFile, title, err }, { passed: false, todo: false, skip: false });
    }
  }
}

TapReporter.prototype.writeTimeout = function ({ period, pendingTests }) {
  writePending(this, pendingTests, `unfinished when no test had ended for ${period / 1000} s`);
};

TapReporter.prototype.writeProcessExit = function ({ pendingTests }) {
  writePending(this, pendingTests, 'unfinished when its process was ended by process.exit()');
};

run();
