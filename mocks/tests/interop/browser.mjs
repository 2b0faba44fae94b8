// What a browser does at the login page, by script: keeps cookies, fills the form, and stops where it leads back.

/** Signs in by the form; gives the address that the browser is sent back to. */
export async function signIn(address, username, password) {
  const cookies = new Map();
  const visit = async (url, options = {}) => {
    const answer = await fetch(url, {
      redirect: 'manual',
      ...options,
      headers: { ...options.headers, cookie: [...cookies].map((pair) => pair.join('=')).join('; ') },
    });
    for (const line of answer.headers.getSetCookie()) {
      const [name, value] = line.split(';')[0].split(/=(.*)/s);
      cookies.set(name, value);
    }
    return answer;
  };
  const page = await visit(address);
  const html = await page.text();
  const action = /id="kc-form-login"[^>]* action="([^"]*)"/.exec(html)?.[1].replaceAll('&amp;', '&');
  if (!action) throw new Error(`no login form at ${address}: ${page.status} ${html}`);
  const back = await visit(action, { method: 'POST', body: new URLSearchParams({ username, password }) });
  const place = back.headers.get('location');
  if (!place) throw new Error(`the form led nowhere: ${back.status} ${await back.text()}`);
  return new URL(place);
}
