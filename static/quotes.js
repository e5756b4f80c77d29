// The quote button: a POST with the user id, a receipt for the poster, and the price over this session's own
// WebSocket, which may be there before the receipt.

const PATIENCE = 5_000;

/**
 * One question at a time. `show(result)` gets `{kind: "asking"}`, `{kind: "accepted", sessions, unconfirmed}`,
 * `{kind: "answer", quote, rtt}` (`rtt` null when somebody else asked for this user), `{kind: "refused", status,
 * slug, detail, retryAfterMs}`, `{kind: "unreachable"}` or `{kind: "lost", sessions, unconfirmed}`.
 */
export class QuoteDesk {
  #question = null;
  #with;

  // A browser's own `setTimeout` refuses to be called as a member of anything but the window.
  constructor({ post, now, show, later = (...all) => setTimeout(...all) }) {
    this.#with = { post, now, show, later };
  }

  /** Asks for a quote. Ends when the receipt is there; the answer may still be on its way. */
  async ask(userId) {
    const { post, now, show } = this.#with;
    const question = { askedAt: now(), requestId: null, early: [], answered: false };
    this.#question = question;
    show({ kind: "asking" });
    const receipt = await post(userId);
    if (this.#question !== question) return;
    if (receipt.kind !== "accepted") {
      this.#question = null;
      show(receipt);
      return;
    }
    question.requestId = receipt.requestId;
    const early = question.early.find(({ quote }) => quote.request_id === receipt.requestId);
    if (early) this.#answer(question, early.quote, early.at);
    else this.#await(question, receipt);
  }

  /** A `quote` message came. */
  arrived(quote) {
    const { now, show } = this.#with;
    const question = this.#question;
    if (question && question.requestId === null) question.early.push({ quote, at: now() });
    else if (question && quote.request_id === question.requestId) this.#answer(question, quote, now());
    else show({ kind: "answer", quote, rtt: null });
  }

  #answer(question, quote, at) {
    question.answered = true;
    this.#with.show({ kind: "answer", quote, rtt: at - question.askedAt });
  }

  #await(question, receipt) {
    this.#with.show(receipt);
    this.#with.later(() => {
      if (this.#question === question && !question.answered) this.#with.show({ ...receipt, kind: "lost" });
    }, PATIENCE);
  }
}
