import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * One node of Elasticsearch 8, as EsNode starts one of 9; without security, whose module is not
 * published for it. Arguments: the configuration folder, then NAME=VALUE.
 */
public class Es8Node {
    public static void main(String[] args) throws Exception {
        Map<String, String> plain = new HashMap<>();
        for (int i = 1; i < args.length; i++) {
            int eq = args[i].indexOf('=');
            plain.put(args[i].substring(0, eq), args[i].substring(eq + 1));
        }
        LogConfigurator.configureESLogging();
        LogConfigurator.registerErrorListener();
        Environment env = InternalSettingsPreparer.prepareEnvironment(Settings.EMPTY, plain, Path.of(args[0]), () -> "node");
        LogConfigurator.configure(env, true);
        Node node = new Node(env, PluginsLoader.createPluginsLoader(
            PluginsLoader.loadModulesBundles(env.modulesDir()),
            PluginsLoader.loadPluginsBundles(env.pluginsDir()), Map.of()));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.prepareForClose();
                node.close();
                node.awaitClose(10, TimeUnit.SECONDS);
            } catch (Throwable t) {
                t.printStackTrace();
            }
        }));
        node.start();
        new CountDownLatch(1).await();
    }
}
